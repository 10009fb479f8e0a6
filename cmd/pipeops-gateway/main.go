// Command pipeops-gateway is the control plane's gateway: agents connect to it, people and kubectl reach clusters by it.
package main

import (
	"context"
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
	if output := command.Flag("output"); output != nil && output.Value.String() == "json" {
		console.ErrorJSON(stdout, err)
	} else {
		console.Error(stderr, err)
	}
	return reason.Exit(err)
}
