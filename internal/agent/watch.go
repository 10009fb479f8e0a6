package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/nodes"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// How often the cluster is looked at: while it is not healthy, and when it is, or has been unhealthy for longer than watchLong.
const (
	watchBusy = 2 * time.Second
	watchIdle = 15 * time.Second
	watchLong = 5 * time.Minute
)

// watcher looks after the cluster and keeps what it saw last.
type watcher struct {
	source *cluster.Source
	health *health.Tracker
	saw    func(err error) // is told after every look whether the API server answers; nil: nobody is
	onNode bool            // this machine is a node, and reaches service addresses
	deaf   int             // look-ups of the cluster's DNS that failed in a row

	mu         sync.Mutex
	kubernetes string
	provider   string
	nodes      int
	node       string // the Node that this machine is, once it is known
}

// run looks until ctx ends.
func (w *watcher) run(ctx context.Context) error {
	well := time.Now()
	for {
		healthy := w.look(ctx)
		if healthy {
			well = time.Now()
		}
		reached := w.health.Get(health.ClusterReachable).Status == health.True
		if err := pause(ctx, pace(healthy, reached, time.Since(well)), nil); err != nil {
			return err
		}
	}
}

// pace is the pause before the next look, after the cluster was well for the last time. That nobody answers bothers nobody.
func pace(healthy, reached bool, after time.Duration) time.Duration {
	if healthy || reached && after > watchLong {
		return watchIdle
	}
	return watchBusy
}

// look reports whether the cluster is healthy. One that the end of ctx cuts says nothing.
func (w *watcher) look(ctx context.Context) bool {
	client, err := w.source.Client()
	if err == nil {
		err = client.Ready(ctx)
	}
	if ctx.Err() != nil {
		return false
	}
	if w.saw != nil {
		w.saw(err)
	}
	if err != nil {
		w.health.Set(health.ClusterReachable, health.False, "Unreachable", err.Error())
		w.health.Set(health.NodesReady, health.Unknown, "Unreachable", "")
		w.health.Set(health.DNS, health.Unknown, "Unreachable", "")
		return false
	}
	w.health.Set(health.ClusterReachable, health.True, "Reachable", "")
	version, unknown := client.Version(ctx)
	resolves := w.lookUp(ctx, client)
	all, ready, own, err := w.count(ctx, client)
	provider := w.providerOf(ctx, client, version)
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		w.health.Set(health.NodesReady, health.Unknown, "NotListed", err.Error())
		return false
	}
	w.mu.Lock()
	w.nodes, w.node = all, own
	if unknown == nil {
		w.kubernetes = version
	}
	if provider != "" {
		w.provider = provider
	}
	w.mu.Unlock()
	seen := fmt.Sprintf("%d of %d nodes are ready", ready, all)
	if all == 0 || ready < all {
		w.health.Set(health.NodesReady, health.False, "NotReady", seen)
		return false
	}
	w.health.Set(health.NodesReady, health.True, "Ready", seen)
	return resolves && unknown == nil
}

// count returns how many nodes there are, how many of them are ready, and the name of the one that this machine is, "" if that is
// not known.
func (w *watcher) count(ctx context.Context, client *cluster.Client) (all, ready int, own string, err error) {
	if !w.onNode {
		all, ready, err = client.Nodes(ctx)
		return all, ready, "", err
	}
	list, err := nodes.List(ctx, client.Dynamic)
	for _, n := range list {
		if n.Ready == health.True {
			ready++
		}
	}
	return len(list), ready, nodes.Own(list), err
}

// lookUp asks the DNS of the cluster and reports whether it answers. One answer that is lost says nothing: the second in a
// row does.
func (w *watcher) lookUp(ctx context.Context, client *cluster.Client) bool {
	evidence, err := client.DNS(ctx, w.onNode)
	switch {
	case err == nil:
		w.deaf = 0
		w.health.Set(health.DNS, health.True, "Resolves", evidence)
	case ctx.Err() != nil:
	default:
		if w.deaf++; w.deaf > 1 {
			w.health.Set(health.DNS, health.False, string(reason.LayerDNS), err.Error())
		}
	}
	return err == nil
}

// heartbeat returns what was seen last, in the fields of a heartbeat.
func (w *watcher) heartbeat() wire.Heartbeat {
	w.mu.Lock()
	defer w.mu.Unlock()
	return wire.Heartbeat{Kubernetes: w.kubernetes, Nodes: w.nodes, Node: w.node, Provider: w.provider}
}

// providerOf asks who runs the cluster, which does not change: until it is known, and again after an upgrade.
func (w *watcher) providerOf(ctx context.Context, client *cluster.Client, version string) string {
	w.mu.Lock()
	known := w.provider != "" && version == w.kubernetes
	w.mu.Unlock()
	if known || version == "" {
		return ""
	}
	provider, err := client.Provider(ctx, version)
	if err != nil {
		return ""
	}
	return provider
}
