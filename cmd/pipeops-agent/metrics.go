package main

import (
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/config"
	"github.com/pipeopshq/pipeops-agent/internal/localapi"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func newMetrics(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "metrics",
		Short: "Print what the running agent counts, in the text format of Prometheus",
		Long: `metrics asks the running agent by its local socket. To have a Prometheus read them, name a loopback address in the configuration:
metrics: 127.0.0.1:9105`,
		Args: cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			return localapi.Metrics(command.Context(), g.socket, command.OutOrStdout())
		},
	}
}

// checkMetrics refuses an address at which others than this machine could read the metrics: they have no password.
func checkMetrics(address string) error {
	if address == "" {
		return nil
	}
	if at, err := netip.ParseAddrPort(address); err == nil && at.Addr().Unmap().IsLoopback() {
		return nil
	}
	return reason.Newf(reason.Usage, "metrics %q: want a loopback address with a port, such as 127.0.0.1:9105", address).
		WithFix("mend or remove metrics in " + config.Path)
}
