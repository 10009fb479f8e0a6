package distro

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/engine"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const (
	// mtuOption is what a network's packets may have at most, which kind takes from the engine's usual network too.
	mtuOption = "com.docker.network.driver.mtu"
	// networkLabel tells people whose a network is.
	networkLabel = "io.pipeops.cluster"
	// maxAddresses bounds the file with the addresses of nodes, in bytes.
	maxAddresses = 64 << 10
)

// policy is when the engine starts a node by itself: never, where each needs its own address first, or the program.
func (d nodeContainers) policy() string {
	if d.fixed != "" || d.starts {
		return "no"
	}
	return restartPolicy
}

// addressed is the network in which each node keeps its address; "": the program sees to that, for all of them.
func (d nodeContainers) addressed() string { return cmp.Or(d.fixed, d.pinned) }

// pin gives those nodes the address that they have for good to which the program has given none: another one could take it while they do
// not run. For that they are stopped and started again.
func (n *nodeCluster) pin(ctx context.Context, c *engine.Client) error {
	nodes, err := n.containers(ctx)
	if err != nil {
		return err
	}
	loose, err := n.loose(ctx, c, nodes)
	if err != nil || len(loose) == 0 {
		return err
	}
	if err := n.keepAddresses(ctx, c, nodes); err != nil {
		return err
	}
	for _, node := range loose {
		if err := c.StopContainer(ctx, node.ID, stopGrace); err != nil {
			return err
		}
		d, err := c.Container(ctx, node.ID)
		if err != nil {
			return err
		}
		if err := n.place(ctx, c, node, d); err != nil {
			return err
		}
		if err := c.StartContainer(ctx, node.ID); err != nil {
			return err
		}
	}
	return nil
}

// loose returns the nodes that run with an address which they do not have for good.
func (n *nodeCluster) loose(ctx context.Context, c *engine.Client, nodes []engine.Container) (all []engine.Container, err error) {
	if n.nodes.pinned == "" {
		return nil, nil
	}
	for _, node := range nodes {
		d, err := c.Container(ctx, node.ID)
		if err != nil {
			return nil, err
		}
		if in, ok := d.NetworkSettings.Networks[n.nodes.pinned]; ok && in.IPAMConfig.IPv4Address == "" && d.State.Running {
			all = append(all, node)
		}
	}
	return all, nil
}

// makeNetwork makes the network in which nodes can be given addresses: only one with a subnet that somebody has chosen is such. It is
// the one that the engine would choose.
func (n *nodeCluster) makeNetwork(ctx context.Context, c *engine.Client) error {
	name := n.nodes.fixed
	if name == "" {
		return nil
	}
	options := map[string]string{}
	if usual, err := c.Network(ctx, "bridge"); err == nil && usual.Options[mtuOption] != "" {
		options[mtuOption] = usual.Options[mtuOption]
	}
	labels := map[string]string{networkLabel: ClusterName}
	err := c.CreateNetwork(ctx, name, "", labels, options)
	if engine.Conflict(err) {
		return reason.Newf(reason.EngineNameTaken, "the engine has a network %s already", name).WithFix("remove it, if nothing needs it: docker network rm " + name)
	}
	if err != nil {
		return err
	}
	made, err := c.Network(ctx, name)
	if err != nil {
		return err
	}
	subnet := ""
	for _, config := range made.IPAM.Config {
		if p, err := netip.ParsePrefix(config.Subnet); err == nil && p.Addr().Is4() {
			subnet = p.String()
		}
	}
	if subnet == "" {
		return fmt.Errorf("cannot give the nodes addresses: the network %s has no IPv4 subnet", name)
	}
	if err := c.RemoveNetwork(ctx, name); err != nil {
		return err
	}
	return c.CreateNetwork(ctx, name, subnet, labels, options)
}

// addressesFile is what address each node has, by its name.
func (n *nodeCluster) addressesFile() string {
	return filepath.Join(n.Dir, n.nodes.name+"-addresses.json")
}

// addresses returns the address that each node had when all of them ran for the last time; none before the first time.
func (n *nodeCluster) addresses() (map[string]netip.Addr, error) {
	kept := map[string]netip.Addr{}
	text, err := atomicfile.Read(n.addressesFile(), maxAddresses)
	if errors.Is(err, fs.ErrNotExist) {
		return kept, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the addresses of the nodes: %w", err)
	}
	return kept, nil
}

// place gives a node that does not run its address again.
func (n *nodeCluster) place(ctx context.Context, c *engine.Client, node engine.Container, d engine.Details) error {
	if n.nodes.addressed() == "" {
		return nil
	}
	kept, err := n.addresses()
	if err != nil {
		return err
	}
	at, ok := kept[node.Name()]
	if !ok {
		return nil
	}
	in, connected := d.NetworkSettings.Networks[n.nodes.addressed()]
	if connected && in.IPAMConfig.IPv4Address == at.String() {
		return nil
	}
	if connected {
		if err := c.DisconnectNetwork(ctx, n.nodes.addressed(), node.ID); err != nil {
			return err
		}
	}
	return c.ConnectNetwork(ctx, n.nodes.addressed(), node.ID, at.String())
}

// keepAddresses notes the addresses of all nodes. What is known of a node stays: others have been told of it.
func (n *nodeCluster) keepAddresses(ctx context.Context, c *engine.Client, nodes []engine.Container) error {
	if n.nodes.addressed() == "" {
		return nil
	}
	kept, err := n.addresses()
	if err != nil {
		return err
	}
	more := false
	for _, node := range nodes {
		if _, ok := kept[node.Name()]; ok {
			continue
		}
		d, err := c.Container(ctx, node.ID)
		if err != nil {
			return err
		}
		if ip, err := netip.ParseAddr(d.NetworkSettings.Networks[n.nodes.addressed()].IPAddress); err == nil && ip.Is4() {
			kept[node.Name()], more = ip, true
		}
	}
	if !more {
		return nil
	}
	text, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	return atomicfile.Write(n.addressesFile(), 0o600, append(text, '\n'))
}
