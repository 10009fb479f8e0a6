// Command lab boots pristine Debian machines for tests and for looking around.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/test/lab"
)

// codeError is the exit code of a program that was run in a machine.
type codeError int

func (e codeError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newCommand().ExecuteContext(ctx)
	stop()
	var code codeError
	switch {
	case errors.As(err, &code):
		os.Exit(int(code))
	case err != nil:
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "lab",
		Short:         "Pristine Debian machines with a real systemd, in about a second",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(upCommand(), execCommand(), pushCommand(), listCommand(),
		onMachine("ip", "Print the address of a machine", func(cmd *cobra.Command, m *lab.Machine) error {
			fmt.Fprintln(cmd.OutOrStdout(), m.IP())
			return nil
		}),
		onMachine("reboot", "Reboot a machine in good order", func(cmd *cobra.Command, m *lab.Machine) error { return m.Reboot(cmd.Context()) }),
		onMachine("cut", "Cut the power of a machine", func(cmd *cobra.Command, m *lab.Machine) error { return m.Cut(cmd.Context()) }),
		onMachine("start", "Boot a machine that is off, its disk as it was", func(cmd *cobra.Command, m *lab.Machine) error { return m.Start(cmd.Context()) }),
		onMachine("down", "Stop a machine and delete its disk", func(cmd *cobra.Command, m *lab.Machine) error { return m.Down(cmd.Context()) }),
		&cobra.Command{
			Use: "debian NAME...", Short: "Let machines install Debian's packages, until this ends", Args: cobra.MinimumNArgs(1),
			RunE: withLab(func(cmd *cobra.Command, l *lab.Lab, names []string) error { return debian(cmd.Context(), l, names) }),
		},
		&cobra.Command{
			Use: "down-all", Short: "Take all machines down", Args: cobra.NoArgs,
			RunE: withLab(func(cmd *cobra.Command, l *lab.Lab, _ []string) error { return l.DownAll(cmd.Context()) }),
		},
		&cobra.Command{
			Use: "image [PACKAGE...]", Short: "Build the image of the machines, unless it is there, and print its folder",
			RunE: withLab(func(cmd *cobra.Command, l *lab.Lab, packages []string) error {
				dir, err := l.Image(cmd.Context(), packages...)
				if err == nil {
					fmt.Fprintln(cmd.OutOrStdout(), dir)
				}
				return err
			}),
		})
	return root
}

// withLab opens the lab for a command.
func withLab(do func(*cobra.Command, *lab.Lab, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		l, err := lab.Open(cmd.Context())
		if err != nil {
			return err
		}
		l.Log = func(message string) { fmt.Fprintln(cmd.ErrOrStderr(), "lab:", message) }
		return do(cmd, l, args)
	}
}

func onMachine(name, short string, do func(*cobra.Command, *lab.Machine) error) *cobra.Command {
	return &cobra.Command{
		Use: name + " NAME", Short: short, Args: cobra.ExactArgs(1),
		RunE: withLab(func(cmd *cobra.Command, l *lab.Lab, args []string) error {
			m, err := l.Machine(args[0])
			if err != nil {
				return err
			}
			return do(cmd, m)
		}),
	}
}

func upCommand() *cobra.Command {
	var opts lab.Options
	var mebibytes int64
	cmd := &cobra.Command{
		Use: "up NAME", Short: "Make a pristine machine and boot it", Args: cobra.ExactArgs(1),
		RunE: withLab(func(cmd *cobra.Command, l *lab.Lab, args []string) error {
			opts.Memory = mebibytes << 20
			m, err := l.Up(cmd.Context(), args[0], opts)
			if err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), m.IP())
			}
			return err
		}),
	}
	cmd.Flags().StringSliceVar(&opts.Packages, "package", nil, "Debian package to have beside the base; may be repeated")
	cmd.Flags().Int64Var(&mebibytes, "memory", 0, "memory limit in MiB; 0 means that of this host")
	cmd.Flags().BoolVar(&opts.Bare, "bare", false, "nobody starts services: pid 1 is a shell script")
	cmd.Flags().BoolVar(&opts.OpenRC, "openrc", false, "OpenRC starts the services, not systemd")
	cmd.Flags().BoolVar(&opts.Docker, "docker", false, "with Debian's Docker, running")
	cmd.Flags().BoolVar(&opts.Container, "container", false, "a plain container without what a virtual machine has")
	return cmd
}

func execCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "exec NAME [--] COMMAND...", Short: "Run a command in a machine, as root, on this terminal", Args: cobra.MinimumNArgs(2),
		RunE: withLab(func(cmd *cobra.Command, l *lab.Lab, args []string) error {
			m, err := l.Machine(args[0])
			if err != nil {
				return err
			}
			argv := args[1:]
			if argv[0] == "--" {
				argv = argv[1:]
			}
			code, err := m.Attach(cmd.Context(), argv...)
			if err == nil && code != 0 {
				return codeError(code)
			}
			return err
		}),
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func pushCommand() *cobra.Command {
	return &cobra.Command{
		Use: "push NAME SOURCE DESTINATION", Short: "Copy a file or folder into a machine", Args: cobra.ExactArgs(3),
		RunE: withLab(func(cmd *cobra.Command, l *lab.Lab, args []string) error {
			m, err := l.Machine(args[0])
			if err != nil {
				return err
			}
			return m.Push(cmd.Context(), args[1], args[2])
		}),
	}
}

// debian serves Debian's archive to machines until ctx ends.
func debian(ctx context.Context, l *lab.Lab, names []string) error {
	d, err := l.ServeDebian(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		m, err := l.Machine(name)
		if err == nil {
			err = d.Use(m)
		}
		if err != nil {
			return errors.Join(err, d.Close())
		}
	}
	l.Log("apt works in " + strings.Join(names, ", ") + " until this is interrupted")
	<-ctx.Done()
	return d.Close()
}

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the machines", Args: cobra.NoArgs,
		RunE: withLab(func(cmd *cobra.Command, l *lab.Lab, _ []string) error {
			machines, err := l.List()
			for _, m := range machines {
				state := "off"
				if m.Running() {
					state = "up"
				}
				fmt.Fprintln(cmd.OutOrStdout(), m.Name, m.IP(), state)
			}
			return err
		}),
	}
}
