package auditcli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/audit"
	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/console"
)

// filter says which records are shown. An empty field is any.
type filter struct {
	since, until                           time.Time
	user, cluster, namespace, resource, id string
	kind, verb                             string
	failed                                 bool
}

func (f filter) wants(r audit.Record) bool {
	resource := r.Resource
	if r.Subresource != "" {
		resource += "/" + r.Subresource
	}
	for _, field := range [][2]string{{f.cluster, r.Cluster}, {f.namespace, r.Namespace}, {f.kind, r.Kind}, {f.verb, r.Verb}} {
		if field[0] != "" && field[0] != field[1] {
			return false
		}
	}
	switch {
	case !f.since.IsZero() && r.Time.Before(f.since), !f.until.IsZero() && r.Time.After(f.until):
		return false
	case f.user != "" && r.User != f.user && strings.TrimPrefix(r.User, "pipeops:") != f.user:
		return false
	case f.resource != "" && f.resource != resource && f.resource != r.Resource:
		return false
	case f.id != "" && f.id != r.ID && f.id != r.Trace:
		return false
	case f.failed && (r.Result == nil || r.Status < 400 && r.Cut == nil):
		return false
	}
	return true
}

func newShow(o *cli.Output, dir func() string) *cobra.Command {
	var f filter
	var since, until string
	var last int
	command := &cobra.Command{
		Use:   "show [FILE...]",
		Short: "Show records of the audit log",
		Long: `show prints the records of the log, or of the files that are named, the oldest first; with -o json as one JSON object per line.
It does not prove anything: that is what verify is for.`,
		Example: `  pipeops-agent audit show --since 1h --user alice
  pipeops-agent audit show --resource pods/exec -o json
  pipeops-agent audit show --id 4bf92f3577b34da6a3ce929d0e0e4736`,
		RunE: func(command *cobra.Command, args []string) error {
			var err error
			now := time.Now()
			if f.since, err = when("since", since, now); err == nil {
				f.until, err = when("until", until, now)
			}
			if err != nil {
				return err
			}
			list, _, err := files(args, dir())
			if err != nil {
				return err
			}
			out := command.OutOrStdout()
			var kept []audit.Record // the last ones
			err = audit.Read(list, func(r audit.Record) error {
				switch {
				case !f.wants(r):
					return nil
				case last <= 0:
					return show(o, out, r)
				}
				if kept = append(kept, r); len(kept) > 2*last {
					kept = append([]audit.Record(nil), kept[len(kept)-last:]...)
				}
				return nil
			})
			for _, r := range kept[max(0, len(kept)-max(last, 0)):] {
				if err == nil {
					err = show(o, out, r)
				}
			}
			return cannotRead(err)
		},
	}
	flags := command.Flags()
	flags.StringVar(&since, "since", "", "only from then on: a time (RFC 3339), or how long ago, such as 2h")
	flags.StringVar(&until, "until", "", "only until then, likewise")
	flags.StringVar(&f.user, "user", "", "only of this user")
	flags.StringVar(&f.cluster, "cluster", "", "only of this cluster")
	flags.StringVarP(&f.namespace, "namespace", "n", "", "only in this namespace")
	flags.StringVar(&f.resource, "resource", "", "only of this resource, such as pods or pods/exec")
	flags.StringVar(&f.verb, "verb", "", "only with this verb")
	flags.StringVar(&f.kind, "kind", "", "only of this kind: request, start, end, note, anchor, opened, closed, file")
	flags.StringVar(&f.id, "id", "", "only of this request, by its id or that of its trace")
	flags.BoolVar(&f.failed, "failed", false, "only what was refused, failed or was cut")
	flags.IntVar(&last, "last", 0, "only so many, the newest; 0 means all")
	_ = command.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{
		audit.KindRequest, audit.KindStart, audit.KindEnd, audit.KindNote, audit.KindAnchor, audit.KindOpened, audit.KindClosed, audit.KindFile,
	}, cobra.ShellCompDirectiveNoFileComp))
	return command
}

func show(o *cli.Output, w io.Writer, r audit.Record) error {
	if o.JSON() {
		return json.NewEncoder(w).Encode(r)
	}
	_, err := fmt.Fprintln(w, text(r))
	return err
}

// text is a record in one line, without anything that steers a terminal: users have written much of it.
func text(r audit.Record) string {
	words := []string{r.Time.UTC().Format(time.RFC3339), fmt.Sprint(r.Seq), r.Kind}
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	switch {
	case r.File != nil:
		add("file %d of chain %s", r.File.Number, r.File.Chain)
		if r.File.Broken != "" {
			add("(%s)", r.File.Broken)
		}
	case r.Opened != nil:
		add("by %s", r.Opened.Version)
		if !r.Opened.Clean {
			add("(the one before did not end in order; torn: %d bytes, missing: %d records)", r.Opened.Torn, r.Opened.Missing)
		}
	case r.Anchor != nil:
		add("of %s: record %d of chain %s", r.Anchor.Of, r.Anchor.Seq, r.Anchor.Chain)
	}
	if r.Note != "" {
		add("%s", r.Note)
	}
	if r.Count > 0 {
		add("(%d)", r.Count)
	}
	if r.User != "" {
		add("%s", r.User)
	}
	if r.Cluster != "" {
		add("on %s", r.Cluster)
	}
	if what := r.Event.String(); what != "" {
		add("%s", what)
	}
	if r.Result != nil {
		add("-> %d", r.Status)
		if r.Reason != "" {
			add("%s", r.Reason)
		}
		if r.Cut != nil {
			add("cut at byte %d", *r.Cut)
		}
		add("in %d ms, %d bytes in, %d out", r.DurationMS, r.In, r.Out)
	}
	if r.Remote != "" {
		add("from %s", r.Remote)
	}
	if r.ID != "" {
		add("id %s", r.ID)
	}
	return console.Clean(strings.Join(words, " "))
}
