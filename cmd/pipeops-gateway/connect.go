package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/forward"
	"github.com/pipeopshq/pipeops-agent/internal/gateway"
	"github.com/pipeopshq/pipeops-agent/internal/proxy"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/transport"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func newConnect(g *globals) *cobra.Command {
	var listen, file, user string
	var udp bool
	command := &cobra.Command{
		Use:   "connect CLUSTER TARGET",
		Short: "Reach a service or a pod of a cluster by a port of this machine",
		Long: `connect listens on this machine, and carries each connection to the target through gateway and agent. A target is
svc/NAMESPACE/NAME:PORT or pod/NAMESPACE/NAME:PORT; the port is a number or a name.

  pipeops-gateway connect shop svc/shop/web:80 --listen 127.0.0.1:8080
  pipeops-gateway connect shop svc/kube-system/kube-dns:53 --udp --listen 127.0.0.1:5353

The token is taken from --kubeconfig, or a file of KUBECONFIG, as pipeops-gateway kubeconfig makes them; where there is neither, and
the gateway serves on this machine, one is made for a day. The user needs the right to create services/proxy, or pods/portforward for
a pod. A connection that fails or is cut is told and seen as a reset by its program; the others go on.`,
		Args: cli.Arguments("CLUSTER", "TARGET"),
		ValidArgsFunction: func(c *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			return g.completeClusters(c, args, toComplete)
		},
		RunE: func(command *cobra.Command, args []string) error {
			network := "tcp"
			if udp {
				network = "udp"
			}
			target, err := wire.ParseTarget(network, args[1])
			if err != nil {
				return reason.Newf(reason.Usage, "%v", err)
			}
			if _, port, err := net.SplitHostPort(listen); err != nil || !isPort(port) && port != "0" {
				return reason.Newf(reason.Usage, "--listen %q: want an address and a port, such as 127.0.0.1:8080", listen)
			}
			access, err := g.access(command.Context(), file, args[0], user)
			if err != nil {
				return err
			}
			access.Dialer = &transport.Dialer{Proxy: proxy.FromEnvironment(os.Getenv)}
			if err := access.Check(command.Context(), target); err != nil {
				return err
			}
			return forward.Forward{Access: access, Target: target, Tell: g.connected(command)}.Run(command.Context(), listen)
		},
	}
	flags := command.Flags()
	flags.StringVar(&listen, "listen", "127.0.0.1:0", "address and port on this machine; port 0 takes one that is free")
	flags.StringVar(&file, "kubeconfig", "", "file that leads to the cluster, as pipeops-gateway kubeconfig makes it")
	flags.StringVar(&user, "user", "admin", "name of the user, where a token is made")
	flags.BoolVar(&udp, "udp", false, "carry datagrams of UDP, not connections of TCP")
	return command
}

// access finds how to reach a cluster: by a file, by KUBECONFIG, or by the gateway of this machine.
func (g *globals) access(ctx context.Context, file, cluster, user string) (forward.Access, error) {
	if !wire.ValidName(cluster) {
		return forward.Access{}, reason.Newf(reason.Usage, "cluster name %.60q: want lower-case letters, digits and '-', at most 40", cluster)
	}
	if file != "" {
		return forward.Kubeconfig(file, cluster)
	}
	found, ok, wrong := forward.FromEnvironment(cluster)
	if ok {
		return found, nil
	}
	made, err := g.admin().CreateAccess(ctx, cluster, user, connectLife)
	if err != nil && wrong != nil {
		return found, wrong
	}
	if err != nil {
		return found, err
	}
	server, err := url.Parse(made.Server)
	if err != nil {
		return found, fmt.Errorf("cannot read the address of the gateway: %w", err)
	}
	return forward.Access{Gateway: server.Host, CA: []byte(made.CA), Cluster: cluster, Token: made.Token}, nil
}

// connectLife is that of a token which is made for one call: a working day and the night after it.
const connectLife = gateway.DefaultUserLife / 30

// connected prints what happens: a line for people, or one of JSON.
func (g *globals) connected(command *cobra.Command) func(forward.Event) {
	if g.JSON() {
		lines := json.NewEncoder(command.OutOrStdout())
		return func(e forward.Event) { _ = lines.Encode(e) }
	}
	return func(e forward.Event) {
		switch e.Kind {
		case "listening":
			_, _ = fmt.Fprintf(command.OutOrStdout(), "%s %s leads to %s\n", strings.ToUpper(e.Network), e.Listen, e.Target)
		case "refused":
			_, _ = fmt.Fprintf(command.ErrOrStderr(), "%s: refused: %s: %s\n", e.From, e.Code, e.Message)
		case "ended":
			if e.Message != "" {
				_, _ = fmt.Fprintf(command.ErrOrStderr(), "%s: %s\n", e.From, e.Message)
			}
		}
	}
}
