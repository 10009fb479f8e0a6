package gateway

import (
	"context"
	"net/http"

	"github.com/pipeopshq/pipeops-agent/internal/audit"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/metric"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// alarm remembers what an operator should look at, in the store, the log and the audit log.
func (g *Gateway) alarm(ctx context.Context, a store.Alarm) {
	g.Log.Warn("alarm", "code", a.Code, "cluster_id", a.ClusterID, "machine", a.Machine, "subject", a.Subject, "evidence", a.Evidence)
	g.metrics.Add(metric.GatewayPrefix+metric.Alarms, 1, a.Code)
	g.audit.Note("alarm "+a.Code+": "+a.Evidence, 0, audit.Event{Cluster: a.ClusterID, Machine: a.Machine, Name: a.Subject})
	if err := g.store.AddAlarm(context.WithoutCancel(ctx), a); err != nil {
		g.Log.Error("alarm not remembered", "code", a.Code, "err", err)
	}
}

// cloned raises an alarm where two processes hold the identity of one machine.
func (g *Gateway) cloned(ctx context.Context, p *peer, evidence string) {
	g.alarm(ctx, store.Alarm{Code: string(reason.IdentityCloned), ClusterID: p.id, Machine: p.machine, Evidence: evidence})
}

// replayed raises an alarm where a token is shown again by another machine: whoever has it has its secret, and one of the two stole it.
func (g *Gateway) replayed(r *http.Request, token string, err error) {
	if reason.Is(err, reason.TokenUsed) {
		g.alarm(r.Context(), store.Alarm{Code: string(reason.TokenUsed), Subject: token, Evidence: "the token was shown again, by another machine, from " + r.RemoteAddr})
	}
}

// revokeCluster refuses the machines of a cluster from now on, and ends their sessions with all that runs on them.
func (g *Gateway) revokeCluster(r *http.Request) (any, error) {
	cluster, err := g.cluster(r)
	if err != nil {
		return nil, err
	}
	if err := g.store.RevokeCluster(r.Context(), cluster.ID); err != nil {
		return nil, err
	}
	g.Log.Warn("cluster revoked", "cluster", cluster.Name, "cluster_id", cluster.ID)
	for _, p := range g.sessions.of(cluster.ID) {
		g.dismiss(r.Context(), p, reason.Newf(reason.IdentityRevoked, "%s was revoked", cluster.Name))
	}
	cluster.Revoked = true
	return cluster, nil
}

// clearAlarms forgets alarms, of ?cluster=NAME or all of them.
func (g *Gateway) clearAlarms(r *http.Request) (any, error) {
	id := ""
	if name := r.URL.Query().Get("cluster"); name != "" {
		cluster, err := g.store.ClusterByName(r.Context(), name)
		if err != nil {
			return nil, err
		}
		id = cluster.ID
	}
	n, err := g.store.ClearAlarms(r.Context(), id)
	return cleared{n}, err
}

// cleared is how many alarms were forgotten.
type cleared struct {
	Cleared int64 `json:"cleared"`
}
