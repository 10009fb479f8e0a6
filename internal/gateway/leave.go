package gateway

import (
	"context"
	"net/http"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// leave forgets a cluster because its machine says that it was uninstalled; the client certificate says which. One that has
// expired will do: to forget is all that it is for. Once forgotten, the certificate is refused with IDENTITY_REVOKED.
func (g *Gateway) leave(w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		g.fail(w, r, reason.Newf(reason.IdentityMissing, "a client certificate is needed"))
		return
	}
	cluster, err := g.admit(r.Context(), r.TLS.PeerCertificates[0])
	if err == nil || reason.Is(err, reason.CertificateExpired) {
		err = g.forget(r.Context(), cluster, "its machine was uninstalled")
	}
	if err != nil {
		g.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// forget removes a cluster with its documents, its users' tokens and its events, and ends its session. Its name is free.
func (g *Gateway) forget(ctx context.Context, cluster store.Cluster, why string) error {
	if err := g.store.RemoveCluster(ctx, cluster.ID); err != nil {
		return err
	}
	g.Log.Info("cluster removed", "cluster", cluster.Name, "cluster_id", cluster.ID, "why", why)
	if p := g.sessions.get(cluster.ID); p != nil {
		g.dismiss(ctx, p, reason.Newf(reason.IdentityRevoked, "%s was removed: %s", cluster.Name, why))
	}
	return nil
}

// removeCluster is what an administrator does for a machine that cannot say it itself. One that is connected is removed
// only by force.
func (g *Gateway) removeCluster(r *http.Request) (any, error) {
	cluster, err := g.cluster(r)
	if err != nil {
		return nil, err
	}
	if p := g.sessions.get(cluster.ID); p != nil && r.URL.Query().Get("force") != "true" {
		return nil, reason.Newf(reason.Usage, "%s is connected, from %s", cluster.Name, p.remote).
			WithFix("run pipeops-agent uninstall on that machine, or add --force")
	}
	return cluster, g.forget(r.Context(), cluster, "by an administrator")
}
