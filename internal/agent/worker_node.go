package agent

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/localapi"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// proxyConfig is the kubeconfig of kube-proxy, beside that of the kubelet.
	proxyConfig = "kubeproxy.kubeconfig"
	// serversFile is where k3s keeps, beside them, the servers that a worker knows of.
	serversFile = "etc/k3s-agent-load-balancer.json"
	// maxServersFile bounds it, in bytes.
	maxServersFile = 64 << 10
	// maxServers is how many servers are told of.
	maxServers = 16
	// acrossEvery is how often packets are sent to pods on other nodes.
	acrossEvery = time.Minute
)

// workerNode is the node of a worker as the cluster sees it: by the rights of its kubelet and its kube-proxy, and no others.
type workerNode struct {
	own, elsewhere *cluster.Source
	health         *health.Tracker
	name           string
	seen           *watcher // keeps what heartbeats tell

	crossed time.Time // when packets were last sent
	lost    int       // times in a row that they got no answer
}

// node is the node of this worker.
func (a *agent) node() *workerNode {
	return &workerNode{
		own: a.cluster.source, elsewhere: &cluster.Source{Path: filepath.Join(filepath.Dir(a.Kubeconfig), proxyConfig)},
		health: a.health, name: a.Identity.Node(), seen: a.cluster,
	}
}

// look reports whether the cluster sees the node ready and packets go to others. It is for one whose kubelet is well and reaches a
// server.
func (n *workerNode) look(ctx context.Context) bool {
	client, err := n.own.Client()
	seen := ""
	if err == nil {
		seen, err = client.OwnNode(ctx, n.name, false)
	}
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		n.health.Set(health.NodesReady, health.False, "NotReady", err.Error())
		return false
	}
	n.health.Set(health.NodesReady, health.True, "Ready", seen+", and its kubelet well")
	if version, err := client.Version(ctx); err == nil {
		n.seen.mu.Lock()
		n.seen.kubernetes = version
		n.seen.mu.Unlock()
	}
	return n.across(ctx)
}

// across sends packets to pods on other nodes, if it is time. Those that are lost once say nothing, as when the node has just come;
// twice in a row they do.
func (n *workerNode) across(ctx context.Context) bool {
	if n.health.Get(health.PodNetwork).Status != health.False && time.Since(n.crossed) < acrossEvery {
		return true
	}
	client, err := n.elsewhere.Client()
	seen := ""
	if err == nil {
		seen, err = client.Across(ctx, n.name)
	}
	var cannot *cluster.UnprovableError
	switch {
	case ctx.Err() != nil:
		return false
	case errors.As(err, &cannot):
		n.health.Set(health.PodNetwork, health.Unknown, cannot.Reason, cannot.Message)
	case err != nil:
		if n.lost++; n.lost > 1 {
			n.health.Set(health.PodNetwork, health.False, string(reason.LayerPodNetwork), err.Error())
		}
		return false
	default:
		n.lost = 0
		n.health.Set(health.PodNetwork, health.True, "Proved", seen)
	}
	n.crossed = time.Now()
	return true
}

// asNode adds what a machine that has joined is, and leaves out what is not looked at on a worker.
func (a *agent) asNode(s localapi.Status) localapi.Status {
	s.Role, s.Node = string(a.Identity.Role()), a.Identity.Node()
	if a.Identity.Role() != wire.RoleWorker {
		return s
	}
	s.Servers = knownServers(a.Kubeconfig)
	s.Conditions = slices.DeleteFunc(s.Conditions, func(c wire.Condition) bool {
		return !slices.Contains([]string{health.Tunnel, health.Certificate, health.ClusterReachable, health.NodesReady, health.PodNetwork}, c.Type)
	})
	return s
}

// knownServers returns the servers of which the k3s of a worker knows, host:port, by where the kubeconfig of its kubelet lies.
func knownServers(kubeconfig string) []string {
	raw, err := atomicfile.Read(filepath.Join(filepath.Dir(kubeconfig), serversFile), maxServersFile)
	if err != nil {
		return nil
	}
	return parseServers(raw)
}

// parseServers reads the addresses that the load balancer of k3s keeps.
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
