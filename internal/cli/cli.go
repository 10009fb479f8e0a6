// Package cli is the frame of the commands of both programs: one way to print values and errors, one set of rules for
// flags and arguments.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/version"
)

// Output is how a command prints: as text or as JSON.
type Output struct{ format string }

// JSON reports whether JSON was asked for.
func (o *Output) JSON() bool { return o.format == "json" }

// Print writes the value as indented JSON if that was asked for, else by text.
func (o *Output) Print(w io.Writer, value any, text func(io.Writer) error) error {
	if !o.JSON() {
		return text(w)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("cannot print: %w", err)
	}
	return nil
}

// Root makes a root command of the program: it explains itself, refuses what it does not know, and has the flag --output
// and the command version, which also tells the details.
func Root(name, short, long string, o *Output, details ...Detail) *cobra.Command {
	root := &cobra.Command{
		Use: name, Short: short, Long: long, Version: version.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(command *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			fix := seeHelp(command)
			if near := command.SuggestionsFor(args[0]); len(near) > 0 {
				fix = "did you mean " + name + " " + near[0] + "? Else " + fix
			}
			return reason.Newf(reason.Usage, "there is no command %q", args[0]).WithFix(fix)
		},
		SuggestionsMinimumDistance: 2,
		RunE:                       Help,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if o.format != "text" && o.format != "json" {
				return reason.Newf(reason.Usage, "--output %q: want text or json", o.format)
			}
			return nil
		},
	}
	root.PersistentFlags().StringVarP(&o.format, "output", "o", "text", "output format: text or json")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	root.SetFlagErrorFunc(func(command *cobra.Command, err error) error {
		return reason.New(reason.Usage, err.Error(), nil).WithFix(seeHelp(command))
	})
	root.AddCommand(versionCommand(name, o, details))
	return root
}

// seeHelp is the way out of a wrong command line.
func seeHelp(command *cobra.Command) string { return "see " + command.CommandPath() + " --help" }

// Help is the RunE of a command that only has others below it.
func Help(command *cobra.Command, _ []string) error { return command.Help() }

// Arguments returns a check that a command got exactly the arguments that are named.
func Arguments(names ...string) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		switch {
		case len(args) == len(names):
			return nil
		case len(names) == 0 && command.HasAvailableSubCommands():
			_, path, _ := strings.Cut(command.CommandPath()+" "+args[0], " ")
			return reason.Newf(reason.Usage, "there is no command %q", path).WithFix(seeHelp(command))
		case len(names) == 0:
			return reason.Newf(reason.Usage, "%s takes no argument, but got %q", command.CommandPath(), args[0]).WithFix(seeHelp(command))
		}
		return reason.Newf(reason.Usage, "%s wants %s, but got %s", command.CommandPath(), strings.Join(names, " "), quoted(args)).WithFix(seeHelp(command))
	}
}

// quoted lists arguments as they were given.
func quoted(args []string) string {
	if len(args) == 0 {
		return "nothing"
	}
	return strings.Trim(fmt.Sprintf("%q", args), "[]")
}

// Detail is something that version tells beside the version: a value for programs, and lines for people.
type Detail struct {
	Name string
	Tell func() (value any, lines []string)
}

func versionCommand(name string, o *Output, details []Detail) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			value := map[string]any{"version": version.String(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH}
			lines := []string{fmt.Sprintf("%s %s %s/%s", name, version.String(), runtime.GOOS, runtime.GOARCH)}
			for _, d := range details {
				more, text := d.Tell()
				value[d.Name], lines = more, append(lines, text...)
			}
			return o.Print(command.OutOrStdout(), value, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, strings.Join(lines, "\n"))
				return err
			})
		},
	}
}

// Main runs the command that this process was started for, until its end or a signal, and ends the process with the exit
// code of package reason. It is the only place where an error is printed.
func Main(root *cobra.Command, o *Output) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root.ExecuteContext(ctx)
	stop()
	switch told := (toldError{}); {
	case err == nil, errors.As(err, &told):
	case o.JSON():
		console.ErrorJSON(os.Stdout, err)
	default:
		console.Error(os.Stderr, err, explaining(root))
	}
	os.Exit(reason.Exit(err))
}

// explaining returns the command that explains a code where the program has it, else "".
func explaining(root *cobra.Command) string {
	doctor, _, err := root.Find([]string{"doctor"})
	if err != nil || doctor.Flags().Lookup("explain") == nil {
		return ""
	}
	return doctor.CommandPath() + " --explain"
}

// toldError is an error that the command's own output has told already: only its exit code is left.
type toldError struct{ error }

func (e toldError) Unwrap() error { return e.error }

// Told marks an error as told by the command's own output, so that it is not printed again. nil stays nil.
func Told(err error) error {
	if err == nil {
		return nil
	}
	return toldError{err}
}
