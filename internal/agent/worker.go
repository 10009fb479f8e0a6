package agent

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/localapi"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/tunnel"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// proxyConfig is the kubeconfig of kube-proxy, beside that of the kubelet.
	proxyConfig = "kubeproxy.kubeconfig"
	// serversFile is where k3s keeps, below its data, the servers that a worker knows of.
	serversFile = "agent/etc/k3s-agent-load-balancer.json"
	// maxServersFile bounds it, in bytes.
	maxServersFile = 64 << 10
	// acrossEvery is how often packets are sent to pods on other nodes.
	acrossEvery = time.Minute
)

// worker looks after a node that runs pods only. It has the rights of its kubelet and its kube-proxy, and no others.
type worker struct {
	own, elsewhere *cluster.Source
	health         *health.Tracker
	node           string
	kubelet        func(context.Context) error // nil means cluster.KubeletHealthy
	seen           *watcher                    // keeps what heartbeats tell

	crossed time.Time // when packets were last sent
}

// runWorker is Run on a worker: it proxies nothing, has no projects and lets nobody join; the gateway hears how it is.
func (a *agent) runWorker(ctx context.Context) error {
	w := &worker{
		own: a.cluster.source, elsewhere: &cluster.Source{Path: filepath.Join(filepath.Dir(a.Kubeconfig), proxyConfig)},
		health: a.health, node: a.Identity.Node(), seen: a.cluster,
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return localapi.Serve(ctx, a.Socket, localapi.Answers{Status: a.workerStatus, Prove: w.now})
	})
	group.Go(func() error { return w.run(ctx) })
	group.Go(func() error {
		return tunnel.Run(ctx, tunnel.Options{
			Identity: a.Identity, Handler: http.NotFoundHandler(), Health: a.health, Log: a.Log.With("service", "tunnel"), OnSession: a.heartbeats,
		})
	})
	group.Go(func() error { return a.tellSystemd(ctx) })
	err := group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil // asked to end
	}
	return err
}

// run looks until ctx ends.
func (w *worker) run(ctx context.Context) error {
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

// look reports whether the node is healthy. A look that the end of ctx cuts says nothing.
func (w *worker) look(ctx context.Context) bool {
	kubelet := w.kubelet
	if kubelet == nil {
		kubelet = cluster.KubeletHealthy
	}
	short, cancel := context.WithTimeout(ctx, watchBusy)
	ill := kubelet(short)
	cancel()
	client, err := w.own.Client()
	if err == nil {
		err = client.Ready(ctx)
	}
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		w.health.Set(health.ClusterReachable, health.False, "Unreachable", err.Error())
	} else {
		w.health.Set(health.ClusterReachable, health.True, "Reachable", "")
		w.remember(ctx, client)
	}
	ready := w.ownNode(ctx, client, ill, err == nil)
	crossed := w.across(ctx, err == nil)
	return err == nil && ready && crossed
}

// ownNode judges this machine's own node.
func (w *worker) ownNode(ctx context.Context, client *cluster.Client, ill error, reached bool) bool {
	if ill != nil {
		w.health.Set(health.NodesReady, health.False, string(reason.LayerNode), "the kubelet of this machine is not well: "+ill.Error())
		return false
	}
	if !reached {
		w.health.Set(health.NodesReady, health.Unknown, "Unreachable", "the kubelet of this machine is healthy")
		return false
	}
	seen, err := client.OwnNode(ctx, w.node, false)
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		w.health.Set(health.NodesReady, health.False, "NotReady", err.Error())
		return false
	}
	w.health.Set(health.NodesReady, health.True, "Ready", seen+", and its kubelet healthy")
	return true
}

// across sends packets to pods on other nodes, if it is time.
func (w *worker) across(ctx context.Context, reached bool) bool {
	failed := w.health.Get(health.PodNetwork).Status == health.False
	if !reached || !failed && time.Since(w.crossed) < acrossEvery {
		return !failed
	}
	client, err := w.elsewhere.Client()
	seen := ""
	if err == nil {
		seen, err = client.Across(ctx, w.node)
	}
	var cannot *cluster.UnprovableError
	switch {
	case ctx.Err() != nil:
		return false
	case errors.As(err, &cannot):
		w.health.Set(health.PodNetwork, health.Unknown, cannot.Reason, cannot.Message)
	case err != nil:
		w.health.Set(health.PodNetwork, health.False, string(reason.LayerPodNetwork), err.Error())
		return false
	default:
		w.health.Set(health.PodNetwork, health.True, "Proved", seen)
	}
	w.crossed = time.Now()
	return true
}

// remember keeps what heartbeats tell.
func (w *worker) remember(ctx context.Context, client *cluster.Client) {
	version, err := client.Version(ctx)
	if err != nil {
		return
	}
	w.seen.mu.Lock()
	w.seen.kubernetes = version
	w.seen.mu.Unlock()
}

// now is what status --prove asks for: a worker proves nothing that it does not look at anyway.
func (w *worker) now(context.Context) error { return nil }

// workerStatus is what the local socket of a worker answers: only what is looked at there.
func (a *agent) workerStatus() localapi.Status {
	s := a.status()
	s.Conditions = slices.DeleteFunc(s.Conditions, func(c wire.Condition) bool {
		return !slices.Contains([]string{health.Tunnel, health.Certificate, health.ClusterReachable, health.NodesReady, health.PodNetwork}, c.Type)
	})
	s.Role, s.Node = string(wire.RoleWorker), a.Identity.Node()
	s.Servers = knownServers(a.Kubeconfig)
	return s
}

// knownServers returns the servers of which the k3s of a worker knows, by where the kubeconfig of its kubelet lies.
func knownServers(kubeconfig string) []string {
	raw, err := atomicfile.Read(filepath.Join(filepath.Dir(filepath.Dir(kubeconfig)), serversFile), maxServersFile)
	if err != nil {
		return nil
	}
	return parseServers(raw)
}

// maxServers bounds how many servers are told of.
const maxServers = 16

// parseServers reads the addresses, host:port, that the load balancer of k3s keeps.
func parseServers(raw []byte) []string {
	var file struct {
		Addresses []string `json:"ServerAddresses"`
	}
	if json.Unmarshal(raw, &file) != nil {
		return nil
	}
	var all []string
	for _, address := range file.Addresses {
		if _, _, err := net.SplitHostPort(address); err == nil && len(address) < 300 && len(all) < maxServers {
			all = append(all, address)
		}
	}
	return all
}
