package gateway

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// DefaultTokenLife is that of a join token.
const DefaultTokenLife = time.Hour

// NewToken is a join token in the moment in which it is made.
type NewToken struct {
	store.Token
	Secret string `json:"token"` // the whole token
}

// tokenRequest is the body of a request for a join token.
type tokenRequest struct {
	Cluster    string `json:"cluster,omitempty"`
	TTLSeconds int64  `json:"ttl_seconds,omitempty"`
}

// listenAdmin makes the administrators' socket. Only root and the gateway's own user may connect.
func (g *Gateway) listenAdmin(ctx context.Context) (net.Listener, error) {
	path := AdminSocket(g.Data)
	dialer := net.Dialer{Timeout: time.Second}
	if other, err := dialer.DialContext(ctx, "unix", path); err == nil {
		_ = other.Close()
		return nil, reason.Newf(reason.Busy, "another gateway serves with the data folder %s", g.Data)
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("cannot remove the old socket: %w", err)
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for administrators: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("cannot protect the administrators' socket: %w", err)
	}
	return peerChecked{listener}, nil
}

// admin is what the gateway answers on the administrators' socket.
func (g *Gateway) admin() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			body, err := f(r)
			if err != nil {
				g.fail(w, r, err)
				return
			}
			answer(w, body)
		})
	}
	handle("POST /tokens", g.createToken)
	handle("DELETE /tokens/{id}", g.revokeToken)
	handle("GET /tokens", func(r *http.Request) (any, error) { return g.store.Tokens(r.Context()) })
	handle("GET /users", func(r *http.Request) (any, error) { return g.store.Users(r.Context()) })
	mux.Handle("GET /metrics", g.metrics)
	handle("GET /clusters/{cluster}/check", g.checkCluster)
	handle("GET /alarms", func(r *http.Request) (any, error) { return g.store.Alarms(r.Context()) })
	handle("DELETE /alarms", g.clearAlarms)
	handle("GET /clusters", g.listClusters)
	handle("POST /clusters/{cluster}/revoke", g.revokeCluster)
	handle("DELETE /clusters/{cluster}", g.removeCluster)
	handle("GET /clusters/{cluster}/machines", g.listMachines)
	handle("DELETE /clusters/{cluster}/machines/{machine}", g.removeMachine)
	handle("POST /clusters/{cluster}/join", g.createNodeToken)
	handle("GET /clusters/{cluster}/facts", g.clusterFacts)
	handle("GET /clusters/{cluster}/events", g.clusterEvents)
	handle("POST /clusters/{cluster}/access", g.createAccess)
	handle("GET /clusters/{cluster}/projects", g.listProjects)
	handle("GET /clusters/{cluster}/projects/{name}", g.getProject)
	handle("PUT /clusters/{cluster}/projects/{name}", g.putProject)
	handle("DELETE /clusters/{cluster}/projects/{name}", g.deleteProject)
	handle("GET /clusters/{cluster}/nodes", g.listNodes)
	mux.HandleFunc("POST /clusters/{cluster}/nodes/{node}/drain", g.drainNode)
	mux.HandleFunc("POST /clusters/{cluster}/nodes/{node}/cordon", g.cordonNode(true))
	mux.HandleFunc("POST /clusters/{cluster}/nodes/{node}/uncordon", g.cordonNode(false))
	mux.HandleFunc("POST /clusters/{cluster}/nodes/{node}/remove", g.removeNode)
	mux.HandleFunc("GET /clusters/{cluster}/projects/{name}/page/{path...}", g.openProject)
	return mux
}

func (g *Gateway) createToken(r *http.Request) (any, error) {
	var request tokenRequest
	if err := read(r, &request); err != nil {
		return nil, err
	}
	if request.Cluster != "" && !wire.ValidName(request.Cluster) {
		return nil, reason.Newf(reason.Usage, "cluster name %q: want lower-case letters, digits and '-', at most 40", request.Cluster)
	}
	life, err := tokenLife(request.TTLSeconds)
	if err != nil {
		return nil, err
	}
	token := wire.NewToken(g.authority.cert.Raw)
	kept, err := g.store.AddToken(r.Context(), token, request.Cluster, life)
	if err != nil {
		return nil, err
	}
	g.Log.Info("join token made", "token", token.ID, "cluster", request.Cluster, "life", life)
	return NewToken{Token: kept, Secret: token.Reveal()}, nil
}

func tokenLife(ttl int64) (time.Duration, error) {
	const most = 7 * 24 * time.Hour
	if ttl == 0 {
		return DefaultTokenLife, nil
	}
	if ttl < 1 || ttl > int64(most/time.Second) {
		return 0, reason.Newf(reason.Usage, "a join token lives from a second to a week, not %d s", ttl)
	}
	return time.Duration(ttl) * time.Second, nil
}

func (g *Gateway) revokeToken(r *http.Request) (any, error) {
	id := r.PathValue("id")
	if err := g.store.RevokeToken(r.Context(), id); err != nil {
		return nil, err
	}
	g.Log.Info("token revoked", "token", id)
	return revoked{id}, nil
}

// revoked is a token that can be used no more.
type revoked struct {
	ID string `json:"id"`
}
