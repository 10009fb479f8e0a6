package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/nodes"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// kubeTimeout bounds one request to the Kubernetes API of a cluster that the gateway makes for an administrator.
	kubeTimeout = 30 * time.Second
	// forgetTimeout bounds the removal of the Node of a machine that has left.
	forgetTimeout = 3 * time.Minute
)

// NodeInfo is a node as `nodes` shows it.
type NodeInfo struct {
	nodes.Node
	Role    string `json:"role"`              // server, etcd; worker
	Machine string `json:"machine,omitempty"` // id of the machine that it is, if that is known here
	Tunnel  bool   `json:"tunnel"`            // its machine is connected
	Leads   bool   `json:"leads"`             // its machine is sent the documents of the cluster
}

// NodeProgress is a line of what is done to a node; the last one has the kind done, or error with code, message and fix.
type NodeProgress struct {
	nodes.Progress
	Code string `json:"code,omitempty"`
	Fix  string `json:"fix,omitempty"`
}

// kubeTransport carries requests to the Kubernetes API of a cluster to whichever of its servers is there when they are made.
type kubeTransport struct {
	gateway *Gateway
	cluster store.Cluster
	avoid   string // the machine that is to be asked last
}

func (t kubeTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	var p *peer
	for _, q := range t.gateway.servers(r.Context(), t.cluster.ID, t.cluster.Name, t.gateway.fleet.permit(t.cluster.ID)) {
		if p == nil || p.machine == t.avoid {
			p = q
		}
	}
	if p == nil {
		return nil, reason.Newf(reason.ClusterNotConnected, "%s", t.cluster.Name)
	}
	r = r.Clone(r.Context())
	setUser(r.Header, administrator())
	entry, err := t.gateway.own(r, t.cluster, p)
	if err != nil {
		entry.End(http.StatusServiceUnavailable, false)
		return nil, err
	}
	defer p.carry()()
	response, err := p.transport().RoundTrip(r)
	if err != nil {
		entry.End(http.StatusServiceUnavailable, true)
		return nil, err
	}
	entry.End(response.StatusCode, false)
	return response, nil
}

// administrator is whom the gateway asks for when it is used on its own machine.
func administrator() store.Grant {
	return store.Grant{User: "admin", Groups: []string{wire.GroupAdmins}}
}

// kubeClient returns a client of the Kubernetes API of a cluster, with the rights of an administrator there.
func (g *Gateway) kubeClient(c store.Cluster, avoid string) (dynamic.Interface, error) {
	client, err := dynamic.NewForConfigAndClient(
		&rest.Config{Host: "http://agent" + wire.PathAgentKube, QPS: 50, Burst: 100},
		&http.Client{Transport: kubeTransport{g, c, avoid}, Timeout: kubeTimeout})
	if err != nil {
		return nil, fmt.Errorf("cannot make a client: %w", err)
	}
	return client, nil
}

func (g *Gateway) listNodes(r *http.Request) (any, error) {
	c, err := g.cluster(r)
	if err != nil {
		return nil, err
	}
	client, err := g.kubeClient(c, "")
	if err != nil {
		return nil, err
	}
	list, err := nodes.List(r.Context(), client)
	if err != nil {
		return nil, explain(c, err)
	}
	machines, err := g.machines(r.Context(), c)
	if err != nil {
		return nil, err
	}
	out := make([]NodeInfo, 0, len(list))
	for _, n := range list {
		info := NodeInfo{Node: n, Role: n.Role()}
		for _, m := range machines {
			if m.Node == n.Name {
				info.Machine, info.Tunnel, info.Leads = m.ID, m.Connected, m.Leads
			}
		}
		out = append(out, info)
	}
	return out, nil
}

// explain makes a reason of an error of the way to the API server, so that it is not taken for one of the gateway.
func explain(c store.Cluster, err error) *reason.Error {
	var known *reason.Error
	if errors.As(err, &known) {
		return known
	}
	return reason.Newf(reason.ClusterNotConnected, "the Kubernetes API of %s: %v", c.Name, err)
}

// nodeWork is something that takes its time, and tells how far it is.
type nodeWork func(ctx context.Context, c store.Cluster, client dynamic.Interface, node string, o nodes.DrainOptions, tell func(nodes.Progress)) error

// onNode does something to a node and answers with lines of NodeProgress. It ends when the administrator goes away.
func (g *Gateway) onNode(w http.ResponseWriter, r *http.Request, work nodeWork) {
	c, err := g.cluster(r)
	var o nodes.DrainOptions
	if err == nil {
		err = read(r, &o)
	}
	node := r.PathValue("node")
	if err == nil && !wire.ValidNodeName(node) {
		err = reason.Newf(reason.NodeUnknown, "%.70q", node)
	}
	var client dynamic.Interface
	if err == nil {
		client, err = g.kubeClient(c, g.machineOfNode(r.Context(), c, node).ID)
	}
	if err != nil {
		g.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	lines, stream := json.NewEncoder(w), http.NewResponseController(w)
	tell := func(p NodeProgress) {
		_ = lines.Encode(p) // who does not listen any more ends the request
		_ = stream.Flush()
	}
	err = work(r.Context(), c, client, node, o, func(p nodes.Progress) { tell(NodeProgress{Progress: p}) })
	if err == nil {
		tell(NodeProgress{Progress: nodes.Progress{Kind: "done"}})
		return
	}
	known := explain(c, err)
	g.Log.Info("node work refused", "cluster", c.Name, "node", node, "path", r.URL.Path, "code", known.Code, "why", known.Why())
	tell(NodeProgress{Progress: nodes.Progress{Kind: "error", Message: known.Why()}, Code: string(known.Code), Fix: known.Fix})
}

func (g *Gateway) drainNode(w http.ResponseWriter, r *http.Request) {
	g.onNode(w, r, func(ctx context.Context, c store.Cluster, client dynamic.Interface, node string, o nodes.DrainOptions, tell func(nodes.Progress)) error {
		g.Log.Info("node is drained", "cluster", c.Name, "node", node)
		return nodes.Drain(ctx, client, node, o, tell)
	})
}

func (g *Gateway) cordonNode(cordoned bool) http.HandlerFunc {
	kind := "uncordoned"
	if cordoned {
		kind = "cordoned"
	}
	return func(w http.ResponseWriter, r *http.Request) {
		g.onNode(w, r, func(ctx context.Context, c store.Cluster, client dynamic.Interface, node string, _ nodes.DrainOptions, tell func(nodes.Progress)) error {
			if err := nodes.Cordon(ctx, client, node, cordoned); err != nil {
				return err
			}
			g.Log.Info("node changed", "cluster", c.Name, "node", node, "to", kind)
			tell(nodes.Progress{Kind: kind})
			return nil
		})
	}
}

// removeNode takes a node out of its cluster, and forgets its machine.
func (g *Gateway) removeNode(w http.ResponseWriter, r *http.Request) {
	g.onNode(w, r, func(ctx context.Context, c store.Cluster, client dynamic.Interface, node string, o nodes.DrainOptions, tell func(nodes.Progress)) error {
		m := g.machineOfNode(ctx, c, node)
		if err := g.spare(ctx, c, m); err != nil {
			return err
		}
		err := nodes.Remove(ctx, client, node, o, tell)
		if reason.Is(err, reason.NodeUnknown) && m.ID != "" { // it never came, or went by other means
			tell(nodes.Progress{Kind: "skipped", Message: "the cluster has no such node, but the gateway knows its machine"})
			err = nil
		}
		if err != nil || m.ID == "" {
			return err
		}
		return g.forget(ctx, c, m, "its node was removed by an administrator")
	})
}

// spare returns NODE_NEEDED for the last server that holds a tunnel, or could: the cluster may have others that came by other means, but
// without this one the gateway would forget it, with its projects.
func (g *Gateway) spare(ctx context.Context, c store.Cluster, m store.Machine) error {
	if m.Role != wire.RoleServer {
		return nil
	}
	list, err := g.store.Machines(ctx, c.ID)
	if err != nil {
		return err
	}
	for _, other := range list {
		if other.ID != m.ID && other.Role == wire.RoleServer {
			return nil
		}
	}
	return reason.Newf(reason.NodeNeeded, "%s is the only server of %s that joined by this gateway or was installed for it", m.Node, c.Name)
}

// machineOfNode returns the machine that a node is, an empty one if it is not known.
func (g *Gateway) machineOfNode(ctx context.Context, c store.Cluster, node string) store.Machine {
	list, err := g.store.Machines(ctx, c.ID)
	if err != nil {
		g.Log.Error("cannot find the machine of a node", "cluster", c.Name, "node", node, "err", err)
	}
	for _, m := range list {
		if m.Node == node {
			return m
		}
	}
	return store.Machine{}
}

// forgetNode takes the Node of a machine that has left out of its cluster, as far as that can be done without it, and does not
// wait for that.
func (g *Gateway) forgetNode(ctx context.Context, c store.Cluster, m store.Machine) {
	if m.Node == "" {
		return
	}
	client, err := g.kubeClient(c, m.ID)
	if err != nil {
		g.Log.Error("node not removed", "cluster", c.Name, "node", m.Node, "err", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), forgetTimeout)
	g.work.run(func() {
		defer cancel()
		switch err := nodes.Forget(ctx, client, m.Node); {
		case err == nil:
			g.Log.Info("node removed", "cluster", c.Name, "node", m.Node, "why", "its machine has left")
		case !reason.Is(err, reason.NodeUnknown):
			g.Log.Warn("node not removed", "cluster", c.Name, "node", m.Node, "err", err, "way_out", "pipeops-gateway nodes remove "+c.Name+" "+m.Node)
		}
	})
}
