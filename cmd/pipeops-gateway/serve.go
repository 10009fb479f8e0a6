package main

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/gateway"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func newServe(g *globals) *cobra.Command {
	var listen, level, storeFile, between, auditing, metrics string
	var advertise, announce []string
	var drain, lameDuck time.Duration
	var admit int
	var apps appsFlags
	var limits gateway.Limits
	command := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway until it is told to stop",
		Long: `serve takes the tunnels of agents and the requests of users on one TLS port. At its first start it makes a CA of its
own in the data folder; join tokens carry its digest, so agents trust this gateway and no other.

With --apps-domain each project has an origin of its own, https://NAME.CLUSTER.<domain>/; a wildcard DNS record must lead there
to this gateway. Its CA certifies the names, unless a certificate of yours does (one for *.CLUSTER.<domain>).

On SIGTERM it tells the agents, lets requests end for as long as --drain says, and exits 0.

Several gateways share a PostgreSQL (--store-file, or PIPEOPS_GATEWAY_STORE); docs/gateways.md says how.`,
		Args: cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			var threshold slog.Level
			if err := threshold.UnmarshalText([]byte(level)); err != nil {
				return reason.Newf(reason.Usage, "--log-level %q: want debug, info, warn or error", level)
			}
			if err := checkMetrics(metrics); err != nil {
				return err
			}
			if limits.User < 1 || limits.Agent < 1 {
				return reason.Newf(reason.Usage, "--user-requests and --agent-requests must be at least 1")
			}
			for _, most := range []int{limits.UserBytes, limits.AgentBytes} {
				if most != 0 && most < gateway.LeastBytes {
					return reason.Newf(reason.Usage, "--user-bytes and --agent-bytes must be at least %d, or 0 for no limit", gateway.LeastBytes)
				}
			}
			if err := checkAddresses(listen, advertise); err != nil {
				return err
			}
			if err := apps.check(); err != nil {
				return err
			}
			if err := checkOwn(announce, between); err != nil {
				return err
			}
			store, err := storeAddress(storeFile)
			if err != nil {
				return err
			}
			options := &slog.HandlerOptions{Level: threshold}
			var handler slog.Handler = slog.NewTextHandler(command.ErrOrStderr(), options)
			if g.JSON() {
				handler = slog.NewJSONHandler(command.ErrOrStderr(), options)
			}
			log := slog.New(handler)
			opened, err := gateway.Open(command.Context(), gateway.Options{
				Data: g.data, Store: store, Advertise: advertise, Announce: announce, Between: between, LameDuck: lameDuck, Drain: drain, AdmitRate: admit, Log: log,
				AppsDomain: apps.domain, AppsCertificate: apps.certificate, AppsKey: apps.key,
				Audit: auditing, Metrics: metrics, Limits: limits,
			})
			if os.Geteuid() != 0 && errors.Is(err, os.ErrPermission) {
				return reason.New(reason.HostNotRoot, "", err).WithFix("run the command again with sudo, or name a folder of your own with --data")
			}
			if err != nil {
				return err
			}
			var config net.ListenConfig
			listener, err := config.Listen(command.Context(), "tcp", listen)
			if err != nil {
				return errors.Join(cannotListen(listen, err), opened.Close())
			}
			err = opened.Serve(command.Context(), listener, func() { notify(log, daemon.SdNotifyReady) })
			notify(log, daemon.SdNotifyStopping)
			return errors.Join(err, opened.Close())
		},
	}
	flags := command.Flags()
	flags.StringVar(&listen, "listen", ":8443", "address of the TLS port")
	flags.StringSliceVar(&advertise, "advertise", nil, "host names and addresses of this gateway, with a port if it is another; the first goes into kubeconfigs")
	flags.StringVar(&storeFile, "store-file", "", "file with the address of a PostgreSQL that several gateways share, postgres://USER:PASSWORD@HOST/DATABASE")
	flags.StringSliceVar(&announce, "announce", nil, "host:port at which agents reach this gateway and no other; what is advertised if not given")
	flags.StringVar(&between, "between", "", "host:port at which other gateways reach this one; the first that is announced if not given")
	flags.DurationVar(&lameDuck, "lame-duck", 0, "how long to go on as before after SIGTERM, while /readyz fails and balancers notice")
	flags.DurationVar(&drain, "drain", 10*time.Second, "how long requests may go on after that")
	flags.IntVar(&admit, "admit-rate", 500, "how many sessions of agents are let in each second, twice as many at once; the others are told when to come")
	apps.add(flags)
	flags.IntVar(&limits.User, "user-requests", 200, "how many requests one user may have open at a time; a tenth is kept for those that do not last, as watches do")
	flags.IntVar(&limits.Agent, "agent-requests", 1000, "how many requests of users may be on their way to one machine; a tenth is kept in the same way")
	flags.IntVar(&limits.UserBytes, "user-bytes", 0, "how many bytes per second one user may have, both ways together; what is above that waits (default no limit)")
	flags.IntVar(&limits.AgentBytes, "agent-bytes", 0, "the same for all users of one machine together")
	flags.StringVar(&metrics, "metrics", "", "loopback address, HOST:PORT, at which a Prometheus may read /metrics (default none)")
	flags.StringVar(&auditing, "audit", gateway.AuditOn, "the audit log: on, required (what cannot be recorded is not done) or off")
	_ = command.RegisterFlagCompletionFunc("audit", cobra.FixedCompletions([]string{gateway.AuditOn, gateway.AuditRequired, gateway.AuditOff}, cobra.ShellCompDirectiveNoFileComp))
	flags.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	return command
}

// notify tells systemd, if it started this process.
func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd cannot be told", "state", state, "err", err)
	}
}
