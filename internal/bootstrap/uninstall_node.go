package bootstrap

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
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
func (o UninstallOptions) leaveFirst(ctx context.Context, id *identity.Identity, facts host.Facts) {
	own, data, several := o.ownServer(ctx, facts)
	o.leave(ctx, id, nil)
	if !several || ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, etcdRemoval)
	defer cancel()
	name := id.Node()
	if name == "" {
		name = o.nodeOf(facts)
	}
	if err := own.DeleteNode(ctx, name); err != nil { // no error if the gateway has had it removed
		o.Log.Warn("this server does not remove its own node", "err", err)
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !exists(filepath.Join(data, tombstone)) {
		select {
		case <-ctx.Done():
			o.Events(event("left", fmt.Sprintf("Left: the other servers have not removed the etcd of %s within %s; see pipeops-gateway nodes %s, and remove it there", name, etcdRemoval, id.Cluster()), nil))
			return
		case <-tick.C:
		}
	}
	o.Events(event("gateway", "The other servers have taken over: the etcd of this one counts no more", nil))
}

// nodeOf is the name of the Node of a machine that has enrolled its cluster.
func (o UninstallOptions) nodeOf(facts host.Facts) string {
	for _, c := range facts.Clusters {
		if name := c.Settings["node-name"]; c.Ours.Value && name != "" {
			return name
		}
	}
	return strings.ToLower(facts.Identity.Hostname)
}

// ownServer returns the API server of this machine, the folder of its data, and whether its etcd is one of several.
func (o UninstallOptions) ownServer(ctx context.Context, facts host.Facts) (client *cluster.Client, data string, several bool) {
	data = distro.K3sData(facts)
	for _, c := range facts.Clusters {
		if c.Name != distro.K3s || !c.Ours.Value || c.Kubeconfig == "" || !exists(data+"/server/db/etcd") || exists(data+tombstone) {
			continue
		}
		client, err := cluster.Connect(c.Kubeconfig)
		if err != nil {
			return nil, data, false
		}
		ctx, cancel := context.WithTimeout(ctx, askOwn)
		defer cancel()
		n, err := client.EtcdNodes(ctx)
		if err != nil {
			o.Log.Warn("who else keeps the state of the cluster is not known", "err", err)
		}
		return client, data, err == nil && n > 1
	}
	return nil, data, false
}
