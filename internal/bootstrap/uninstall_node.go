package bootstrap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/nodes"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const (
	// askOwn is how long the API server of a server that goes may take to say who else is there.
	askOwn = 20 * time.Second
	// etcdRemoval is how long the other servers may take to remove the etcd of this one. Stopped before, it would be missed: with
	// two servers the one that stays could not go on.
	etcdRemoval = 45 * time.Second
	// tombstone is what k3s leaves, below its data, when its etcd is told that it was removed.
	tombstone = "/server/db/etcd/tombstone"
)

// leavesFirst reports whether a machine has to leave its cluster before it stops: it is one of several, or may be.
func leavesFirst(id *identity.Identity, facts host.Facts) bool {
	return id.Node() != "" || slices.ContainsFunc(facts.Clusters, func(c host.Cluster) bool { return c.Ours.Value && c.Settings["cluster-init"] == "true" })
}

// leaveFirst takes this machine out of a cluster that stays: the gateway has its Node removed, and where it is a server its etcd must
// be out of the majority before it stops. What cannot be done is told, and the uninstall goes on.
func (o UninstallOptions) leaveFirst(ctx context.Context, id *identity.Identity, own ownServer) {
	several := own.members() > 1
	o.leave(ctx, id, nil, several)
	if !several || ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, etcdRemoval)
	defer cancel()
	if err := own.client.DeleteNode(ctx, own.name); err != nil { // no error if the gateway has had it removed
		o.Log.Warn("this server does not remove its own node", "err", err)
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !exists(own.data + tombstone) {
		select {
		case <-ctx.Done():
			o.Events(event("left", fmt.Sprintf("Left: the other servers have not removed the etcd of %s within %s; see pipeops-gateway nodes %s, and remove it there", own.name, etcdRemoval, id.Cluster()), nil))
			return
		case <-tick.C:
		}
	}
	o.Events(event("gateway", "The other servers have taken over: the etcd of this one counts no more", nil))
}

// ownServer is the server of k3s that this machine is, as far as it answers, with all nodes of its cluster.
type ownServer struct {
	client *cluster.Client
	name   string // of its node
	data   string // its folder
	nodes  []nodes.Node
}

// members is how many servers decide by their etcd, 0 if that is not known.
func (s ownServer) members() (n int) {
	for _, node := range s.nodes {
		if node.Etcd {
			n++
		}
	}
	return n
}

// spared refuses where the etcd of the others could not decide without this one: with it the whole cluster would stop. A cluster that
// goes with its last server, or has stopped already, has nothing to lose.
func (s ownServer) spared(clusterName string) error {
	if s.members() < 2 {
		return nil
	}
	var needed *reason.Error
	if err := nodes.Spare(s.nodes, s.name); errors.As(err, &needed) && needed.Code == reason.NodeNeeded {
		return needed.WithFix("bring the other servers back first, or take out those that are gone for good: pipeops-gateway nodes remove " + clusterName + " NODE --force")
	}
	return nil
}

// ownServer asks the API server of this machine, if its etcd may be one of several.
func (o UninstallOptions) ownServer(ctx context.Context, id *identity.Identity, facts host.Facts) ownServer {
	own := ownServer{data: distro.K3sData(facts), name: cmp.Or(id.Node(), nodeOf(facts))}
	for _, c := range facts.Clusters {
		if c.Name != distro.K3s || !c.Ours.Value || c.Kubeconfig == "" || !exists(own.data+"/server/db/etcd") || exists(own.data+tombstone) {
			continue
		}
		client, err := cluster.Connect(c.Kubeconfig)
		if err == nil {
			ctx, cancel := context.WithTimeout(ctx, askOwn)
			defer cancel()
			own.client = client
			own.nodes, err = nodes.List(ctx, client.Dynamic)
		}
		if err != nil {
			o.Log.Warn("who else keeps the state of the cluster is not known", "err", err)
		}
		return own
	}
	return own
}

// nodeOf is the name of the Node of a machine that has enrolled its cluster.
func nodeOf(facts host.Facts) string {
	for _, c := range facts.Clusters {
		if name := c.Settings["node-name"]; c.Ours.Value && name != "" {
			return name
		}
	}
	return strings.ToLower(facts.Identity.Hostname)
}
