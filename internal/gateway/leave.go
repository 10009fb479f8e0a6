package gateway

import (
	"context"
	"net/http"

	"github.com/pipeopshq/pipeops-agent/internal/audit"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// leave forgets a machine because it says that it was uninstalled; the client certificate says which. With the last server
// the cluster goes. A certificate that has expired will do: to forget is all that it is for. Once forgotten, it is refused
// with IDENTITY_REVOKED. Its Node is removed by way of the servers that are left.
func (g *Gateway) leave(w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		g.fail(w, r, reason.Newf(reason.IdentityMissing, "a client certificate is needed"))
		return
	}
	cluster, machine, err := g.admit(r.Context(), r.TLS.PeerCertificates[0])
	if err == nil || reason.Is(err, reason.CertificateExpired) {
		if err = g.forget(r.Context(), cluster, machine, "it was uninstalled"); err == nil {
			g.forgetNode(r.Context(), cluster, machine)
		}
	}
	if err != nil {
		g.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// forget removes a machine, and with the last server the cluster with its documents, its users' tokens and its events, whose
// name is then free. It ends the sessions of those that are gone.
func (g *Gateway) forget(ctx context.Context, cluster store.Cluster, machine store.Machine, why string) error {
	last, err := g.store.RemoveMachine(ctx, cluster.ID, machine.ID)
	if err != nil {
		return err
	}
	g.audit.Note("a machine was removed: "+why, 0, audit.Event{Cluster: cluster.Name, Machine: machine.ID, Name: machine.Node})
	g.Log.Info("machine removed", "cluster", cluster.Name, "cluster_id", cluster.ID, "machine", machine.ID, "node", machine.Node, "why", why, "cluster_gone", last)
	for _, p := range g.sessions.of(cluster.ID) {
		switch {
		case p.machine == machine.ID:
			g.dismiss(ctx, p, reason.Newf(reason.IdentityRevoked, "this machine was removed from %s: %s", cluster.Name, why))
		case last:
			g.dismiss(ctx, p, reason.Newf(reason.IdentityRevoked, "the last server of %s was removed: %s", cluster.Name, why))
		}
	}
	return nil
}

// removeCluster is what an administrator does for machines that cannot say it themselves. One that is connected is removed
// only by force.
func (g *Gateway) removeCluster(r *http.Request) (any, error) {
	cluster, err := g.cluster(r)
	if err != nil {
		return nil, err
	}
	machines, err := g.machines(r.Context(), cluster)
	if err != nil {
		return nil, err
	}
	for _, m := range machines {
		if m.Connected && r.URL.Query().Get("force") != "true" {
			return nil, reason.Newf(reason.Usage, "%s is connected, from %s", cluster.Name, m.Remote).
				WithFix("run pipeops-agent uninstall on that machine, or add --force")
		}
	}
	if err := g.store.RemoveCluster(r.Context(), cluster.ID); err != nil {
		return nil, err
	}
	g.Log.Info("cluster removed", "cluster", cluster.Name, "cluster_id", cluster.ID, "why", "by an administrator")
	for _, p := range g.sessions.of(cluster.ID) {
		g.dismiss(r.Context(), p, reason.Newf(reason.IdentityRevoked, "%s was removed: by an administrator", cluster.Name))
	}
	return cluster, nil
}
