// Command pipeops-agent turns this machine into a Kubernetes server that a gateway can use, and keeps it so.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func main() {
	os.Exit(execute(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// execute runs one command and returns the exit code. It is the only place where an error is printed.
func execute(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot(stdin, stdout, stderr)
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return reason.ExitOK
	}
	var told toldError
	if errors.As(err, &told) {
		return reason.Exit(err)
	}
	if output := command.Flag("output"); output != nil && output.Value.String() == "json" {
		console.ErrorJSON(stdout, err)
	} else {
		console.Error(stderr, err)
	}
	return reason.Exit(err)
}

// toldError is an error that the command's own output has told already: only its exit code is left.
type toldError struct{ error }

func (e toldError) Unwrap() error { return e.error }

// told marks an error as told; nil stays nil.
func told(err error) error {
	if err == nil {
		return nil
	}
	return toldError{err}
}
