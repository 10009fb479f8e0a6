// Package auditcli is the command audit of both programs: it proves the audit log and shows what is in it.
package auditcli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/audit"
	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// New makes the command for a program whose log is in the folder that dir returns.
func New(o *cli.Output, dir func() string) *cobra.Command {
	command := &cobra.Command{
		Use:   "audit",
		Short: "Prove the audit log, or show what is in it",
		Long: `The audit log has a record for every request that came through a tunnel: who, what, when, with what result and how many bytes
each way. Each record has the SHA-256 of the one before, and each end keeps the head of the other's log.`,
		Args: cli.Arguments(),
		RunE: cli.Help,
	}
	command.AddCommand(newVerify(o, dir), newShow(o, dir))
	return command
}

func newVerify(o *cli.Output, dir func() string) *cobra.Command {
	var anchors []string
	command := &cobra.Command{
		Use:   "verify [FILE...]",
		Short: "Prove that no record was changed, removed, moved or added",
		Long: `verify reads the whole log, or the files that are named, and proves that it is one chain. The first record that is not as it was
recorded is named, with exit code 40. With --anchors it also compares what the other end has kept of this log: somebody who may write
all files of one end can make another chain of them, but not on the other machine.`,
		Example: `  pipeops-agent audit verify
  pipeops-agent audit verify --anchors /tmp/from-the-gateway/audit`,
		RunE: func(command *cobra.Command, args []string) error {
			report, err := verify(args, dir(), anchors)
			if err != nil {
				return err
			}
			if report.Bad != nil && report.Bad.Why != "" && len(args) == 0 { // it may be that a line was being written just then
				if report, err = verify(args, dir(), anchors); err != nil {
					return err
				}
			}
			err = o.Print(command.OutOrStdout(), report, func(w io.Writer) error { return printReport(w, report) })
			if err != nil || report.Bad == nil {
				return err
			}
			bad := reason.Newf(reason.AuditBroken, "%v", report.Bad)
			if o.JSON() {
				return cli.Told(bad)
			}
			return bad
		},
	}
	command.Flags().StringSliceVar(&anchors, "anchors", nil, "files or folders of the other end's audit log, whose anchors are compared")
	return command
}

func verify(args []string, dir string, anchors []string) (audit.Report, error) {
	files, whole, err := files(args, dir)
	if err != nil {
		return audit.Report{}, err
	}
	var others []string
	for _, path := range anchors {
		found, err := expand(path)
		if err != nil {
			return audit.Report{}, err
		}
		others = append(others, found...)
	}
	report, err := audit.Verify(files, whole, others)
	return report, cannotRead(err)
}

// files returns what is to be read, and the folder if that is all of it.
func files(args []string, dir string) (list []string, whole string, err error) {
	if len(args) == 0 {
		list, err = audit.Files(dir)
		return list, dir, cannotRead(err)
	}
	for _, path := range args {
		found, err := expand(path)
		if err != nil {
			return nil, "", err
		}
		list = append(list, found...)
	}
	if info, err := os.Stat(args[0]); len(args) == 1 && err == nil && info.IsDir() {
		whole = args[0]
	}
	return list, whole, nil
}

// expand returns the files of a folder, or the file.
func expand(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, cannotRead(err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	list, err := audit.Files(path)
	return list, cannotRead(err)
}

// cannotRead tells the way out of a log that is root's, or not there.
func cannotRead(err error) error {
	switch {
	case err == nil:
		return nil
	case os.Geteuid() != 0 && errors.Is(err, fs.ErrPermission):
		return reason.New(reason.HostNotRoot, "the audit log is for root only", err)
	case errors.Is(err, fs.ErrNotExist):
		return reason.New(reason.Usage, "there is no audit log", err).WithFix("name a file or a folder that is there; one is begun when the program runs")
	}
	return err
}

func printReport(w io.Writer, r audit.Report) error {
	if r.Bad != nil {
		return nil // the error tells it
	}
	_, err := fmt.Fprintf(w, "good: records %d to %d in %d files are one chain\n", r.First, r.Last, r.Files)
	for _, line := range []struct {
		show bool
		text string
	}{
		{r.First > 1, fmt.Sprintf("  records before %d were rotated away", r.First)},
		{r.Killed > 0, fmt.Sprintf("  of %d starts of the program %d followed on none that ended in order (%d bytes of unfinished lines were cut off)", r.Starts, r.Killed, r.Torn)},
		{r.Unended > 0, fmt.Sprintf("  %d requests began of which no end is recorded: they go on, or the program was killed", r.Unended)},
		{r.Lost > 0, fmt.Sprintf("  %d records were lost while the disk took none, as the log says itself", r.Lost)},
		{r.Held+r.Beyond > 0, fmt.Sprintf("  %d anchors of the other end hold; %d are about records that were rotated away", r.Held, r.Beyond)},
		{true, "  head: " + r.Chain + " " + r.Sum},
	} {
		if line.show && err == nil {
			_, err = fmt.Fprintln(w, line.text)
		}
	}
	return err
}

// when reads a time of a flag: RFC 3339, or how long ago.
func when(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, reason.Newf(reason.Usage, "--%s %q: want a time such as 2006-01-02T15:04:05Z, or how long ago, such as 2h", flag, text)
	}
	return at, nil
}
