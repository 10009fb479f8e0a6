package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/version"
)

func newVersion(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			value := map[string]string{"version": version.String(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH}
			return g.print(command.OutOrStdout(), value, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "pipeops-gateway %s %s/%s\n", version.String(), runtime.GOOS, runtime.GOARCH)
				return err
			})
		},
	}
}
