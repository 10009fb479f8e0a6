package main

import (
	"encoding/json"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/gateway"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/version"
)

// globals are the flags that every command has.
type globals struct {
	output string // "text" or "json"
	data   string
}

func newRoot(stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	g := &globals{}
	root := &cobra.Command{
		Use:   "pipeops-gateway",
		Short: "Run the gateway that agents connect to, and manage clusters through it",
		Long: `pipeops-gateway is the far end of the agents' tunnels. One command serves; all others talk to the one that serves on
this machine, through a socket in its data folder that only root and its own user may open.

  pipeops-gateway serve --advertise HOST            run the gateway
  pipeops-gateway token create                      make a join token for a machine
  pipeops-gateway clusters                          which clusters there are
  pipeops-gateway kubeconfig CLUSTER                reach a cluster with kubectl
  pipeops-gateway project apply -f FILE --cluster C run a project`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version.String(),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return reason.Newf(reason.Usage, "there is no command %q", args[0])
			}
			return nil
		},
		RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if g.output != "text" && g.output != "json" {
				return reason.Newf(reason.Usage, "--output %q: want text or json", g.output)
			}
			return nil
		},
	}
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	flags := root.PersistentFlags()
	flags.StringVarP(&g.output, "output", "o", "text", "output format: text or json")
	flags.StringVar(&g.data, "data", gateway.DefaultData, "folder of the gateway's state")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return reason.New(reason.Usage, err.Error(), nil) })
	root.AddCommand(newServe(g), newToken(g), newClusters(g), newKubeconfig(g), newProject(g), newUser(g), newVersion(g))
	return root
}

// admin returns a client for the gateway that serves on this machine.
func (g *globals) admin() *gateway.Admin { return gateway.NewAdmin(g.data) }

// print writes value as JSON if that is asked for, else by text.
func (g *globals) print(w io.Writer, value any, text func(io.Writer) error) error {
	if g.output == "json" {
		return json.NewEncoder(w).Encode(value)
	}
	return text(w)
}

// arguments returns a check that a command got exactly the arguments that its usage line names.
func arguments(names ...string) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return reason.Newf(reason.Usage, "%s: want %d argument(s) %q, got %q", command.CommandPath(), len(names), names, args)
		}
		return nil
	}
}

// completeClusters offers the names of the clusters.
func (g *globals) completeClusters(command *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := g.admin().Clusters(command.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, c := range list {
		names = append(names, c.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// ago says how long ago a time was, as tables do.
func ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := time.Since(t)
	switch {
	case d < 2*time.Minute:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return d.Round(time.Minute).String()
	}
	return d.Round(time.Hour).String()
}

// orDash keeps the columns of a table apart.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
