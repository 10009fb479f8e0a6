package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap"
	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func newUninstall(g *globals) *cobra.Command {
	var o bootstrap.UninstallOptions
	var yes, dry bool
	command := &cobra.Command{
		Use:   "uninstall",
		Short: "Make this machine what it was before the install",
		Long: `Make this machine what it was before the install: stop the agent and the cluster, undo every change that an install has
recorded, the newest first, tell the gateway to forget the cluster, and remove the agent's own state and program. Stopped
anywhere, it goes on where it was when it is run again.

What you have changed since stays, and is listed. Nothing is deleted behind a mount point or on a network file system. A cluster
that was adopted stays as it is, and so do the projects on it; the rights of the gateway's administrators there go.

--keep-data keeps the volumes that pods had on this machine, in the folder storage below that of k3s (/var/lib/rancher/k3s/storage):
one folder for each volume, named after its claim. The cluster itself, with what it knew of them, goes.

At the end the machine is compared with how it was before the first install. Exit code 0 if nothing of the install is here any
more, 31 if something is, or could not be undone, 13 if it was not confirmed, 10 while another cluster runs in
the same places (RKE2, k0s, MicroK8s, kubeadm), 75 while an install runs.`,
		Example: `  pipeops-agent uninstall --dry-run
  pipeops-agent uninstall --yes --keep-data`,
		Args: cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			if err := g.uninstalled(&o); err != nil {
				return err
			}
			if dry {
				would, err := bootstrap.WouldUninstall(command.Context(), o)
				if err != nil {
					return forRoot(err)
				}
				return g.Print(command.OutOrStdout(), would, func(w io.Writer) error {
					_, err := io.WriteString(w, would.Text())
					return err
				})
			}
			return runUninstall(command, g, o, yes)
		},
	}
	flags := command.Flags()
	flags.BoolVar(&yes, "yes", false, "do not ask")
	flags.BoolVar(&dry, "dry-run", false, "show what would be undone and change nothing")
	flags.BoolVar(&o.KeepData, "keep-data", false, "keep the volumes of the cluster")
	flags.BoolVar(&o.KeepAgent, "keep-agent", false, "keep this program")
	return command
}

// uninstalled fills in what an uninstall works on.
func (g *globals) uninstalled(o *bootstrap.UninstallOptions) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	if c, err := g.load(os.Getenv); err == nil { // of a damaged file nothing is needed that the ledger does not know
		o.Kubeconfig, o.Context = c.Kubeconfig, c.Context
		if through, err := dialer(c); err == nil { // else directly: a proxy that cannot be used holds up nobody who leaves
			o.Transport = through
		}
	}
	o.StateDir, o.Program, o.Host = g.state, program, host.Live()
	return nil
}

func runUninstall(command *cobra.Command, g *globals, o bootstrap.UninstallOptions, yes bool) error {
	if os.Geteuid() != 0 {
		return reason.Newf(reason.HostNotRoot, "uninstall was run as user %d", os.Geteuid())
	}
	if !yes {
		o.Confirm = func(ctx context.Context, what bootstrap.Undoing) (bool, error) {
			return confirm(ctx, command, g, what)
		}
	}
	view := console.Plain(command.OutOrStdout())
	file, isFile := command.OutOrStdout().(*os.File)
	switch {
	case g.JSON():
		view = console.JSON(command.OutOrStdout())
	case isFile && term.IsTerminal(int(file.Fd())) && !g.debug && yes:
		view = console.Terminal(command.OutOrStdout(), int(file.Fd()))
	}
	defer view.Close()
	o.Events = view.Show
	o.Log = g.quiet(command)
	return interrupted(command.Context(), bootstrap.Uninstall(command.Context(), o))
}

// confirm asks on a terminal; elsewhere the user's word is missing.
func confirm(ctx context.Context, command *cobra.Command, g *globals, what bootstrap.Undoing) (bool, error) {
	in, inOK := command.InOrStdin().(*os.File)
	out, outOK := command.OutOrStdout().(*os.File)
	if !inOK || !outOK || g.JSON() || !term.IsTerminal(int(in.Fd())) || !term.IsTerminal(int(out.Fd())) {
		return false, reason.Newf(reason.ConsentNeeded, "%s", goes(what)).WithFix("run again with --yes; --dry-run shows it all")
	}
	yes, err := ask(ctx, in, out, goes(what)+". Go on? [y/N] ")
	if err == nil && !yes {
		_, err = fmt.Fprintln(out, "Nothing was changed")
	}
	return yes, err
}

// goes says in a line what will be gone.
func goes(what bootstrap.Undoing) string {
	var parts []string
	if n := len(what.Changes); n > 0 {
		parts = append(parts, fmt.Sprintf("the changes of the install, %d, are undone", n))
	}
	if what.Volumes != "" {
		parts = append(parts, "the cluster on this machine goes, with all projects and pods")
		if len(what.Keeps) == 0 || what.Keeps[0] != what.Volumes {
			parts = append(parts, "their volumes in "+what.Volumes+" are deleted (--keep-data keeps them)")
		}
	}
	if len(what.Removes) > 0 {
		parts = append(parts, strings.Join(what.Removes, " and ")+" will be gone")
	}
	return strings.Join(parts, "; ")
}
