package distro

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
)

// k3dHostAlias is the name by which k3d lets pods reach the machine.
const k3dHostAlias = "host.k3d.internal"

// k3dRepair gives pods the name of the machine again. k3d writes it into a file of k3s, which k3s writes anew whenever it is started
// (k3d #1112, #1221); a zone of its own in the configuration that CoreDNS takes from users is not lost.
func k3dRepair(ctx context.Context, n *nodeCluster) error {
	gateway, err := n.gateway(ctx)
	if err != nil {
		return err
	}
	client, err := cluster.Connect(n.path(n.nodes.kubeconfigFile()))
	if err != nil {
		return err
	}
	zone := fmt.Sprintf("%s:53 {\n    hosts {\n        %s %s\n    }\n}\n", k3dHostAlias, gateway, k3dHostAlias)
	return until(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, readyAnswer)
		defer cancel()
		return client.SetDNSZone(ctx, "pipeops-host.server", zone)
	})
}

// gateway is the address of the machine in the network of the nodes.
func (n *nodeCluster) gateway(ctx context.Context) (netip.Addr, error) {
	c, err := n.engineOf(ctx)
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	network, err := c.Network(ctx, n.nodes.networks[0])
	if err != nil {
		return netip.Addr{}, err
	}
	for _, config := range network.IPAM.Config {
		if ip, err := netip.ParseAddr(config.Gateway); err == nil {
			return ip, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("the network %s has no gateway", network.Name)
}
