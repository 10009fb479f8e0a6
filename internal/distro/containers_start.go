package distro

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/engine"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// restartPolicy lets the engine start again a node that has died, and all nodes after the engine itself has died. Nodes that
// were stopped, as they are before a machine goes down in order, it leaves to us, who start them in their order. After a power
// cut it starts them at the same time as we do: a start of what has started does nothing, each node has the address that it
// had, and those that wait for others ask until they are there.
const restartPolicy = "unless-stopped"

// stopGrace is how long a node has to stop, before it is killed.
const stopGrace = 30 * time.Second

// repairTimeout is how long the mending may take, with an API server that answers.
const repairTimeout = 2 * time.Minute

// StartCluster starts the cluster of ours that a distribution has in containers, and waits until its API answers. On one that runs it
// changes nothing. tell is told what is waited for.
func StartCluster(ctx context.Context, in Install, name string, tell func(string)) error {
	if in.madeByNone(name) {
		return in.startMinikubeNone(ctx, tell)
	}
	n, err := ourNodes(in, name)
	if err != nil {
		return err
	}
	return n.start(ctx, tell)
}

// StopCluster stops the nodes, those that were started last first. Where there are none of ours, nothing is to be done.
func StopCluster(ctx context.Context, in Install, name string) error {
	if in.madeByNone(name) {
		return in.stopMinikubeNone(ctx)
	}
	n, err := ourNodes(in, name)
	if err != nil {
		return err
	}
	if n.engineGone() {
		return nil
	}
	nodes, err := n.containers(ctx)
	if reason.Is(err, reason.EngineNameTaken) { // none of ours runs
		return nil
	}
	if err != nil {
		return err
	}
	c, err := n.engineOf(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	var errs []error
	for i := len(nodes) - 1; i >= 0; i-- {
		errs = append(errs, c.StopContainer(ctx, nodes[i].ID, stopGrace))
	}
	return errors.Join(errs...)
}

// MadeCluster returns the distribution of the cluster in containers, or by minikube's driver none, that an install has made, or begun to make; "" if there is none.
// The ledger tells, since the configuration is written only when the cluster is there.
func MadeCluster(in Install) string {
	for _, d := range nodeDistributions() {
		if in.recorded(d.target()) {
			return d.name
		}
	}
	if in.madeByNone(Minikube) {
		return Minikube
	}
	return ""
}

func ourNodes(in Install, name string) (*nodeCluster, error) {
	d, ok := nodesOf(name)
	if !ok {
		return nil, reason.Newf(reason.Usage, "no install has made a cluster in containers here").
			WithFix("a k3s is started by its own unit, k3s.service; for a cluster in containers run pipeops-agent install --distro k3d")
	}
	return d.cluster(in)
}

// start starts the nodes in order, and mends what their start has broken.
func (n *nodeCluster) start(ctx context.Context, tell func(string)) error {
	tell("waiting for the engine")
	if err := n.awaitEngine(ctx); err != nil {
		return err
	}
	c, err := n.engineOf(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	nodes, err := n.containers(ctx)
	if err != nil {
		return err
	}
	if n.count(nodes, n.nodes.server) == 0 {
		return reason.Newf(reason.ClusterGone, "the engine has no node of %s %s", n.nodes.name, ClusterName)
	}
	if nodes, err = n.startNodes(ctx, c, nodes, tell); err != nil {
		return err
	}
	tell("waiting for the API")
	if err := n.awaitAPI(ctx, c, nodes); err != nil {
		return err
	}
	if err := errors.Join(n.keepAddresses(ctx, c, nodes), n.finish(nodes)); err != nil {
		return err
	}
	if n.nodes.repair == nil {
		return nil
	}
	tell("mending what the start has broken")
	ctx, cancel := context.WithTimeout(ctx, repairTimeout)
	defer cancel()
	return n.nodes.repair(ctx, n)
}

// startNodes starts the nodes that do not run, and returns what there is then.
func (n *nodeCluster) startNodes(ctx context.Context, c *engine.Client, nodes []engine.Container, tell func(string)) ([]engine.Container, error) {
	if n.nodes.starts {
		tell("starting " + ClusterName + " by " + n.nodes.name)
		if err := n.startByProgram(ctx, nodes); err != nil {
			return nil, err
		}
		nodes = nil // they run
	}
	for _, node := range nodes {
		tell("starting " + node.Name())
		if err := n.startNode(ctx, c, node); err != nil {
			return nil, err
		}
	}
	return n.containers(ctx)
}

// startByProgram lets the program start its nodes, unless all of them run.
func (n *nodeCluster) startByProgram(ctx context.Context, nodes []engine.Container) error {
	if !slices.ContainsFunc(nodes, func(c engine.Container) bool { return c.State != "running" }) {
		return nil
	}
	args, err := n.createArgs()
	if err != nil {
		return err
	}
	if _, err := n.call(ctx, clusterStartUp, args...); err != nil {
		return fmt.Errorf("cannot start the cluster: %w", n.causeOf(err))
	}
	return nil
}

func (n *nodeCluster) startNode(ctx context.Context, c *engine.Client, node engine.Container) error {
	d, err := c.Container(ctx, node.ID)
	if err != nil {
		return err
	}
	if policy := n.nodes.policy(); d.HostConfig.RestartPolicy.Name != policy {
		if err := c.SetRestart(ctx, node.ID, policy); err != nil {
			return err
		}
	}
	if d.State.Paused {
		return reason.Newf(reason.StepFailed, "the container %s is paused", node.Name()).WithFix("docker unpause " + node.Name())
	}
	if d.State.Running {
		return nil
	}
	if err := n.place(ctx, c, node, d); err != nil {
		return err
	}
	return c.StartContainer(ctx, node.ID)
}

// awaitAPI waits until the API answers by the kubeconfig, whose address is mended where the engine has published another one. A node
// that has died meanwhile is named.
func (n *nodeCluster) awaitAPI(ctx context.Context, c *engine.Client, nodes []engine.Container) error {
	ctx, cancel := context.WithTimeout(ctx, clusterStartUp)
	defer cancel()
	return until(ctx, func() error {
		if err := n.readdress(ctx, c, nodes); err != nil {
			return err
		}
		err := n.apiAnswers(ctx)
		if err == nil {
			return nil
		}
		if dead := n.dead(ctx, c, nodes); dead != "" {
			err = fmt.Errorf("%s: %w", dead, err)
		}
		return fmt.Errorf("the API of %s %s does not answer: %w", n.nodes.name, ClusterName, err)
	})
}

// dead names a node that does not run.
func (n *nodeCluster) dead(ctx context.Context, c *engine.Client, nodes []engine.Container) string {
	for _, node := range nodes {
		d, err := c.Container(ctx, node.ID)
		if err == nil && !d.State.Running {
			return fmt.Sprintf("the container %s is %s (exit code %d)%s", node.Name(), d.State.Status, d.State.ExitCode, because(d.State.Error))
		}
	}
	return ""
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// apiAnswers asks the API server.
func (n *nodeCluster) apiAnswers(ctx context.Context) error {
	if n.Ready != nil {
		return n.Ready(ctx)
	}
	client, err := cluster.Connect(n.path(n.nodes.kubeconfigFile()))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyAnswer)
	defer cancel()
	return client.Ready(ctx)
}

// published returns where on this machine the API of the cluster is to be found now; "" where nothing is published. What is before
// the nodes comes last among them, and counts first: behind it, kind publishes each node too.
func (n *nodeCluster) published(ctx context.Context, c *engine.Client, nodes []engine.Container) (string, error) {
	for _, node := range slices.Backward(nodes) {
		d, err := c.Container(ctx, node.ID)
		if err != nil {
			return "", err
		}
		bindings := d.NetworkSettings.Ports[n.nodes.apiPort]
		chosen := strconv.Itoa(n.keptPort())
		if i := slices.IndexFunc(bindings, func(b engine.PortBinding) bool { return b.HostPort == chosen }); i > 0 {
			bindings = bindings[i:] // the others are for the program
		}
		for _, b := range bindings {
			ip, err := netip.ParseAddr(b.HostIP)
			if err != nil || ip.IsUnspecified() || !ip.Is4() {
				ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
			}
			if port, err := strconv.ParseUint(b.HostPort, 10, 16); err == nil && port > 0 {
				return net.JoinHostPort(ip.String(), b.HostPort), nil
			}
		}
	}
	return "", nil
}
