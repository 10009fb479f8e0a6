package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/supervise"
)

func newServices(g *globals) *cobra.Command {
	command := &cobra.Command{
		Use:   "services",
		Short: "Show the services that pipeops-agent runs itself, where neither systemd nor OpenRC does",
		Long: `Show the services that pipeops-agent run --supervise runs: their state, restarts, how they last ended, and their logs. There
it is what systemctl is elsewhere. Exit code 0 if all that start with the machine run, 40 if one does not, or nobody runs them.`,
		Example: `  pipeops-agent services
  pipeops-agent services restart k3s`,
		Args: cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			o, err := g.supervisor().Overview(command.Context())
			if err != nil {
				return err
			}
			if err := g.Print(command.OutOrStdout(), o, func(w io.Writer) error { return printServices(w, o, time.Now()) }); err != nil {
				return err
			}
			if bad := ailing(o); bad != "" {
				err := reason.Newf(reason.ClusterUnhealthy, "%s", bad).WithFix("its log says why")
				if g.JSON() {
					return cli.Told(err)
				}
				return err
			}
			return nil
		},
	}
	for _, verb := range []struct {
		name, short string
		do          func(c *supervise.Client, ctx context.Context, name string) error
	}{
		{"start", "Start a service, if it does not run", (*supervise.Client).Start},
		{"stop", "Stop a service; pods outlive their k3s", (*supervise.Client).Stop},
		{"restart", "Stop a service and start it again", (*supervise.Client).RestartNoWait},
	} {
		command.AddCommand(&cobra.Command{
			Use: verb.name + " NAME", Short: verb.short, Args: cli.Arguments("NAME"),
			RunE: func(command *cobra.Command, args []string) error {
				if os.Geteuid() != 0 {
					return reason.Newf(reason.HostNotRoot, "services %s was run as user %d", verb.name, os.Geteuid())
				}
				if err := g.known(command.Context(), args[0]); err != nil {
					return err
				}
				return verb.do(g.supervisor(), command.Context(), args[0])
			},
		})
	}
	return command
}

// known refuses the name of a service that is not there.
func (g *globals) known(ctx context.Context, name string) error {
	o, err := g.supervisor().Overview(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, s := range o.Services {
		names = append(names, s.Name)
	}
	if !slices.Contains(names, supervise.Name(name)) {
		return reason.Newf(reason.Usage, "there is no service %q; those that are: %v", name, names)
	}
	return nil
}

// ailing names the first service that starts with the machine and does not run, "" if there is none.
func ailing(o supervise.Overview) string {
	for _, s := range o.Services {
		if s.Ails() {
			return s.Name + " is " + s.Text(time.Now())
		}
	}
	return ""
}

func printServices(w io.Writer, o supervise.Overview, now time.Time) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range o.Services {
		sign := "✓"
		switch {
		case s.Ails():
			sign = "✗"
		case s.PID == 0:
			sign = "-"
		}
		_, _ = fmt.Fprintf(table, "%s %s\t%s\n", sign, s.Name, console.Clean(s.Text(now)))
	}
	role := ""
	if o.Stays {
		role = ", the first process of this container"
	}
	_, _ = fmt.Fprintf(table, "supervisor\tprocess %d%s, up %s\n", o.PID, role, age(now.Sub(o.Started)))
	return table.Flush()
}

// services returns what runs the services of this machine, where that is we; else nil, with why if it should be.
func (g *globals) services(ctx context.Context) (*supervise.Overview, error) {
	o, err := g.supervisor().Overview(ctx)
	if err == nil {
		return &o, nil
	}
	if any, _ := supervise.Installed(supervise.Folder(g.state)); !any {
		return nil, nil
	}
	return nil, err
}

// supervised says of an agent that does not run what its supervisor knows of it.
func supervised(err error, o *supervise.Overview, whose error) error {
	if !reason.Is(err, reason.AgentNotRunning) {
		return err
	}
	if reason.Is(whose, reason.SupervisorUnreachable) {
		return whose
	}
	if o == nil {
		return err
	}
	for _, s := range o.Services {
		if s.Name == "pipeops-agent" {
			return reason.New(reason.AgentNotRunning, "its service is "+console.Clean(s.Text(time.Now())), nil).
				WithFix("pipeops-agent services start pipeops-agent; " + s.Log + " says why it stopped")
		}
	}
	return err
}

// printServices shows the services below what the agent says.
func (r statusReport) printServices(w io.Writer, now time.Time) error {
	if r.Services == nil {
		return nil
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return printServices(w, *r.Services, now)
}
