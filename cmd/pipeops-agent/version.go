package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/version"
)

func newVersion(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		RunE: func(command *cobra.Command, _ []string) error {
			if g.output == "json" {
				return printJSON(command.OutOrStdout(), map[string]string{
					"version": version.String(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH})
			}
			_, err := fmt.Fprintf(command.OutOrStdout(), "pipeops-agent %s %s/%s\n", version.String(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
