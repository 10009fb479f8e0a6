package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// How often the cluster is looked at: while it is not healthy, and when it is.
const (
	watchBusy = 2 * time.Second
	watchIdle = 15 * time.Second
)

// watcher looks after the cluster and keeps what it saw last.
type watcher struct {
	source *cluster.Source
	health *health.Tracker
	onNode bool // this machine is a node, and reaches service addresses
	deaf   int  // look-ups of the cluster's DNS that failed in a row

	mu         sync.Mutex
	kubernetes string
	nodes      int
}

// run looks until ctx ends.
func (w *watcher) run(ctx context.Context) error {
	for {
		wait := watchBusy
		if w.look(ctx) {
			wait = watchIdle
		}
		if err := pause(ctx, wait, nil); err != nil {
			return err
		}
	}
}

// look reports whether the cluster is healthy.
func (w *watcher) look(ctx context.Context) bool {
	client, err := w.source.Client()
	if err == nil {
		err = client.Ready(ctx)
	}
	if err != nil {
		w.health.Set(health.ClusterReachable, health.False, "Unreachable", err.Error())
		w.health.Set(health.NodesReady, health.Unknown, "Unreachable", "")
		w.health.Set(health.DNS, health.Unknown, "Unreachable", "")
		return false
	}
	w.health.Set(health.ClusterReachable, health.True, "Reachable", "")
	version, err := client.Version(ctx)
	if err != nil {
		return false
	}
	w.lookUp(ctx, client)
	all, ready, err := client.Nodes(ctx)
	if err != nil {
		w.health.Set(health.NodesReady, health.Unknown, "NotListed", err.Error())
		return false
	}
	w.mu.Lock()
	w.kubernetes, w.nodes = version, all
	w.mu.Unlock()
	if all == 0 || ready < all {
		w.health.Set(health.NodesReady, health.False, "NotReady", fmt.Sprintf("%d of %d nodes are ready", ready, all))
		return false
	}
	w.health.Set(health.NodesReady, health.True, "Ready", fmt.Sprintf("%d of %d nodes are ready", ready, all))
	return true
}

// lookUp asks the DNS of the cluster. One answer that is lost says nothing: the second in a row does.
func (w *watcher) lookUp(ctx context.Context, client *cluster.Client) {
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
}

// heartbeat returns what was seen last, in the fields of a heartbeat.
func (w *watcher) heartbeat() wire.Heartbeat {
	w.mu.Lock()
	defer w.mu.Unlock()
	return wire.Heartbeat{Kubernetes: w.kubernetes, Nodes: w.nodes}
}
