package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/config"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/version"
)

// globals are the flags that every command has.
type globals struct {
	output string // "text" or "json"
	config string
	state  string
	socket string
	debug  bool
}

func newRoot(stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	g := &globals{}
	root := &cobra.Command{
		Use:   "pipeops-agent",
		Short: "Turn this machine into a Kubernetes server that a gateway can use",
		Long: `pipeops-agent looks at this machine, decides which Kubernetes distribution fits and says why, installs it by a plan
that survives crashes, joins a gateway with a one-use token and keeps a tunnel to it.

  pipeops-agent plan                                       what would be done here, and why
  pipeops-agent install --gateway HOST:PORT --token-file F  do it
  pipeops-agent status                                     what the running agent says`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		Version:           version.String(),
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
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
	flags.StringVar(&g.config, "config", config.Path, "the agent's configuration file")
	flags.StringVar(&g.state, "state-dir", config.StateDir, "where the agent keeps its journal and identity")
	flags.StringVar(&g.socket, "socket", config.Socket, "the running agent's local socket")
	flags.BoolVar(&g.debug, "debug", false, "log more")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return reason.New(reason.Usage, err.Error(), nil) })
	root.AddCommand(newProbe(g), newPlan(g), newInstall(g), newRun(g), newStatus(g), newVersion(g))
	for _, command := range root.Commands() {
		if command.Args == nil {
			command.Args = noArgs
		}
	}
	return root
}

func noArgs(command *cobra.Command, args []string) error {
	if len(args) > 0 {
		return reason.Newf(reason.Usage, "%s takes no argument, but got %q", command.CommandPath(), args[0])
	}
	return nil
}

// load reads the settings that the file and the environment give.
func (g *globals) load(getenv func(string) string) (config.Config, error) {
	c, err := config.Load(g.config)
	if err != nil {
		return c, reason.New(reason.Usage, err.Error(), nil)
	}
	return c.Environ(getenv), nil
}

// logger writes to stderr; systemd's journal adds time and unit.
func (g *globals) logger(w io.Writer) *slog.Logger {
	level := slog.LevelInfo
	if g.debug {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// printJSON prints a value for programs.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("cannot print: %w", err)
	}
	return nil
}
