package distro

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/engine"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// made makes the cluster, or more workers for one that is there. One that was not finished is made anew; one that was keeps what it
// holds, and only its kubeconfig is written again if need be.
func (n *nodeCluster) made() plan.Step {
	return plan.Step{
		ID: n.nodes.name + "-cluster", Title: "Make the cluster", Timeout: clusterMake + time.Duration(n.servers()+n.Workers)*time.Minute,
		Changes: []string{
			fmt.Sprintf("containers of the cluster %s (%d of its API, %d further), with their network and volumes", ClusterName, n.servers(), n.Workers),
			n.nodes.kubeconfigFile(),
		},
		Done: func(ctx context.Context) (bool, error) {
			if !n.recorded(n.nodes.target()) || !n.hasKubeconfig() {
				return false, nil
			}
			nodes, err := n.containers(ctx)
			if err != nil { // the step tells
				return false, nil
			}
			if !n.whole(nodes) || slices.ContainsFunc(nodes, func(c engine.Container) bool { return c.State != "running" }) {
				return false, nil
			}
			c, err := n.engineOf(ctx)
			if err != nil {
				return false, nil
			}
			defer c.Close()
			loose, err := n.loose(ctx, c, nodes)
			return err == nil && len(loose) == 0, nil
		},
		Do: n.make,
	}
}

// modulesFolder is where the modules of the kernel are, on machines that have any.
const modulesFolder = "/lib/modules"

func (n *nodeCluster) make(ctx context.Context, r *plan.Recorder) error {
	c, err := n.engineOf(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	nodes, err := n.containers(ctx)
	if err != nil {
		return err
	}
	record, ours := r.Recorded(containerCluster, n.nodes.target())
	whole, err := n.finished()
	if err != nil {
		return err
	}
	for _, dir := range n.nodes.mounts {
		if err := r.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	switch {
	case !ours:
		if err := n.begin(ctx, c, r, nodes); err != nil {
			return err
		}
	case len(whole) == 0 && !n.hasKubeconfig() || n.count(nodes, n.nodes.server) == 0: // half of it, or nothing
		if _, err := n.remove(ctx, record.Before.Names); err != nil {
			return fmt.Errorf("cannot make the cluster anew: %w", err)
		}
		if err := atomicfile.Remove(n.path(n.nodes.kubeconfigFile())); err != nil { // of one that was lost: half of the next would pass for whole
			return err
		}
	case n.count(nodes, n.nodes.server) != n.servers():
		return reason.Newf(reason.StepFailed, "of the %d nodes that serve the API of %s, %d are there", n.servers(), ClusterName, n.count(nodes, n.nodes.server)).
			WithFix("make the node again that was removed, or begin anew: pipeops-agent uninstall, then install")
	default:
		if !n.hasKubeconfig() { // somebody has removed it, or opened it to others
			if nodes, err = n.startNodes(ctx, c, nodes, func(string) {}); err != nil {
				return err
			}
			if err := n.lead(ctx, c, r, nodes); err != nil {
				return err
			}
		}
		if err := n.start(ctx, func(string) {}); err != nil {
			return err
		}
		return n.grow(ctx, c, nodes)
	}
	if err := os.MkdirAll(filepath.Join(n.Dir, "home"), 0o700); err != nil {
		return fmt.Errorf("cannot make a home for %s: %w", n.nodes.name, err)
	}
	if err := n.portFree(); err != nil {
		return err
	}
	if err := n.makeNetwork(ctx, c); err != nil {
		return fmt.Errorf("cannot make the network of the cluster: %w", err)
	}
	limit := clusterMake + time.Duration(n.servers()+n.Workers)*time.Minute
	args, err := n.createArgs()
	if err != nil {
		return err
	}
	if _, err := n.call(ctx, limit, args...); err != nil {
		return fmt.Errorf("cannot make the cluster: %w", n.causeOf(err))
	}
	if nodes, err = n.containers(ctx); err != nil {
		return err
	}
	if err := n.keepAddresses(ctx, c, nodes); err != nil {
		return err
	}
	if err := n.pin(ctx, c); err != nil {
		return fmt.Errorf("cannot give the nodes their addresses: %w", err)
	}
	if err := n.finish(nodes); err != nil {
		return err
	}
	return n.lead(ctx, c, r, nodes)
}

// lead writes the kubeconfig.
func (n *nodeCluster) lead(ctx context.Context, c *engine.Client, r *plan.Recorder, nodes []engine.Container) error {
	text, err := n.printed(ctx)
	if err != nil {
		return fmt.Errorf("cannot get the kubeconfig: %w", err)
	}
	if now, err := n.published(ctx, c, nodes); err != nil {
		return err
	} else if now != "" { // as it will be after each start
		if text, err = readdressed(text, now); err != nil {
			return err
		}
	}
	return r.WriteFile(n.nodes.kubeconfigFile(), 0o600, text)
}

// createArgs are the arguments by which the program makes the cluster.
func (n *nodeCluster) createArgs() ([]string, error) {
	file := n.path(n.nodes.configFile())
	if n.nodes.create != nil {
		return n.nodes.create(file), nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read how the cluster is made: %w", err)
	}
	return n.nodes.arguments(text)
}

// printed returns the kubeconfig of the administrator, as the program has it.
func (n *nodeCluster) printed(ctx context.Context) ([]byte, error) {
	if n.nodes.kubeconfig != nil {
		return n.call(ctx, time.Minute, n.nodes.kubeconfig()...)
	}
	return n.copied(ctx)
}

// begin records the cluster before anything of it is made. One of the same name that is there is somebody else's, and so is a volume:
// the nodes would write into it.
func (n *nodeCluster) begin(ctx context.Context, c *engine.Client, r *plan.Recorder, nodes []engine.Container) error {
	if len(nodes) > 0 {
		return reason.Newf(reason.EngineNameTaken, "the engine has a cluster %s of %s already (container %s)", ClusterName, n.nodes.name, nodes[0].Name()).
			WithFix("adopt it with --distro existing, or remove it first")
	}
	there, err := n.things(ctx, c)
	if err != nil {
		return err
	}
	for _, thing := range there {
		if name, is := strings.CutPrefix(thing, volumeThing); is {
			return reason.Newf(reason.EngineNameTaken, "the engine has a %s already, into which the nodes of %s would write", thing, n.nodes.name).
				WithFix("remove it, if nothing needs it: docker volume rm " + name)
		}
	}
	return r.Expect(containerCluster, n.nodes.target(), there)
}

// things lists what there is in the engine of networks and volumes: "network k3d-pipeops".
func (n *nodeCluster) things(ctx context.Context, c *engine.Client) ([]string, error) {
	networks, err := c.Networks(ctx)
	if err != nil {
		return nil, err
	}
	volumes, err := c.Volumes(ctx)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, w := range networks {
		if slices.Contains(n.nodes.networks, w.Name) {
			all = append(all, networkThing+w.Name)
		}
	}
	for _, v := range volumes {
		if slices.Contains(n.nodes.volumes, v.Name) {
			all = append(all, volumeThing+v.Name)
		}
	}
	return all, nil
}

const (
	networkThing = "network "
	volumeThing  = "volume "
)

// grow adds the workers that are missing.
func (n *nodeCluster) grow(ctx context.Context, c *engine.Client, nodes []engine.Container) error {
	for have := n.count(nodes, n.nodes.worker); have < n.Workers; have++ {
		if _, err := n.call(ctx, clusterMake, n.nodes.addWorker(n.Install, have)...); err != nil {
			return fmt.Errorf("cannot add a worker: %w", err)
		}
	}
	if err := n.pin(ctx, c); err != nil {
		return fmt.Errorf("cannot give the nodes their addresses: %w", err)
	}
	nodes, err := n.containers(ctx)
	if err != nil {
		return err
	}
	return n.finish(nodes)
}

// containers lists the containers of our cluster in the order in which they are started. ENGINE_NAME_TAKEN means that those that are
// there are somebody else's.
func (n *nodeCluster) containers(ctx context.Context) ([]engine.Container, error) {
	c, err := n.engineOf(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	all, err := c.Containers(ctx, n.nodes.label+"="+ClusterName)
	if err != nil {
		return nil, err
	}
	place := func(c engine.Container) int {
		if i := slices.Index(n.nodes.order, c.Labels[n.nodes.role]); i >= 0 {
			return i
		}
		return len(n.nodes.order)
	}
	slices.SortFunc(all, func(a, b engine.Container) int {
		if d := place(a) - place(b); d != 0 {
			return d
		}
		return strings.Compare(a.Name(), b.Name())
	})
	return all, n.another(all)
}

// count returns how many of the containers play a part.
func (n *nodeCluster) count(nodes []engine.Container, role string) int {
	count := 0
	for _, c := range nodes {
		if role != "" && c.Labels[n.nodes.role] == role {
			count++
		}
	}
	return count
}

// whole reports whether all nodes that are wanted are there.
func (n *nodeCluster) whole(nodes []engine.Container) bool {
	return n.count(nodes, n.nodes.server) == n.servers() && n.count(nodes, n.nodes.worker) == n.Workers
}

func (n *nodeCluster) hasKubeconfig() bool {
	st, err := os.Lstat(n.path(n.nodes.kubeconfigFile()))
	return err == nil && st.Mode().IsRegular() && st.Mode().Perm() == 0o600
}

// portFree refuses a port that somebody took since it was chosen.
func (n *nodeCluster) portFree() error {
	if port := n.keptPort(); port != 0 && !free(port) {
		return reason.Newf(reason.NetPortTaken, "%d, at which the API of the cluster would be", port).WithFix("name another one by --api-port")
	}
	return nil
}

// remove removes the cluster from the engine: its containers, and what of its networks and volumes was not there before. It returns
// what it had to leave since something else uses it.
func (n *nodeCluster) remove(ctx context.Context, before []string) (left []string, err error) {
	if n.engineGone() {
		return nil, nil
	}
	c, err := n.engineOf(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	nodes, err := n.containers(ctx)
	if reason.Is(err, reason.EngineNameTaken) { // with its networks and volumes
		return []string{err.Error()}, nil
	}
	if err != nil {
		return nil, err
	}
	for _, node := range slices.Backward(nodes) {
		if err := c.RemoveContainer(ctx, node.ID); err != nil && !engine.NotFound(err) {
			return nil, err
		}
	}
	drop := func(thing string, removed error) {
		switch {
		case removed == nil, engine.NotFound(removed):
		case engine.Conflict(removed), engine.Forbidden(removed): // a network with containers is forbidden
			left = append(left, thing)
		default:
			err = errors.Join(err, removed)
		}
	}
	if err := errors.Join(atomicfile.Remove(n.addressesFile()), atomicfile.Remove(n.nodesFile())); err != nil {
		return nil, err
	}
	for _, name := range n.nodes.networks {
		if thing := networkThing + name; !slices.Contains(before, thing) {
			drop(thing, c.RemoveNetwork(ctx, name))
		}
	}
	for _, name := range n.nodes.volumes {
		if thing := volumeThing + name; !slices.Contains(before, thing) {
			drop(thing, c.RemoveVolume(ctx, name))
		}
	}
	return left, err
}

// engineGone reports whether there is no engine any more, and so nothing in it: neither its socket nor its program, which a snap has
// in a place of its own.
func (n *nodeCluster) engineGone() bool {
	_, err := os.Lstat(n.engineSocket())
	return errors.Is(err, fs.ErrNotExist) && !hasCommand(n.Install, "dockerd") && !n.hasUnit(snapUnit)
}
