package gateway

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// DefaultUserLife is that of a user token.
const DefaultUserLife = 30 * 24 * time.Hour

// ClusterInfo is a cluster as `clusters` shows it.
type ClusterInfo struct {
	store.Cluster
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"` // of the present session
	Remote    string    `json:"remote,omitempty"`
}

// Access is what a user needs to reach a cluster.
type Access struct {
	Server  string    `json:"server"`
	CA      string    `json:"ca"` // PEM
	Cluster string    `json:"cluster"`
	User    string    `json:"user"`
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

// accessRequest is the body of a request for a user token.
type accessRequest struct {
	User       string `json:"user,omitempty"`
	TTLSeconds int64  `json:"ttl_seconds,omitempty"`
}

func (g *Gateway) listClusters(r *http.Request) (any, error) {
	clusters, err := g.store.Clusters(r.Context())
	if err != nil {
		return nil, err
	}
	list := make([]ClusterInfo, 0, len(clusters))
	for _, c := range clusters {
		info := ClusterInfo{Cluster: c}
		if p := g.sessions.get(c.ID); p != nil {
			info.Connected, info.Since, info.Remote = true, p.since, p.remote
		}
		list = append(list, info)
	}
	return list, nil
}

func (g *Gateway) cluster(r *http.Request) (store.Cluster, error) {
	return g.store.ClusterByName(r.Context(), r.PathValue("cluster"))
}

func (g *Gateway) clusterFacts(r *http.Request) (any, error) {
	c, err := g.cluster(r)
	if err != nil {
		return nil, err
	}
	facts, err := g.store.Facts(r.Context(), c.ID)
	if facts == nil {
		facts = json.RawMessage("null")
	}
	return facts, err
}

func (g *Gateway) clusterEvents(r *http.Request) (any, error) {
	c, err := g.cluster(r)
	if err != nil {
		return nil, err
	}
	return g.store.Events(r.Context(), c.ID)
}

func (g *Gateway) createAccess(r *http.Request) (any, error) {
	c, err := g.cluster(r)
	if err != nil {
		return nil, err
	}
	var request accessRequest
	if err := read(r, &request); err != nil {
		return nil, err
	}
	if request.User == "" {
		request.User = "admin"
	}
	life := DefaultUserLife
	if request.TTLSeconds != 0 {
		life = time.Duration(request.TTLSeconds) * time.Second
	}
	if !wire.ValidName(request.User) || life < time.Second {
		return nil, reason.Newf(reason.Usage, "user %q for %s: want lower-case letters, digits and '-', at most 40, and at least a second", request.User, life)
	}
	token, expires, err := g.store.AddUserToken(r.Context(), request.User, []string{wire.GroupAdmins}, c.ID, life)
	if err != nil {
		return nil, err
	}
	g.Log.Info("user token made", "user", request.User, "cluster", c.Name, "life", life)
	return Access{
		Server: g.url() + wire.PathClusters + "/" + c.Name, CA: g.authority.pem(),
		Cluster: c.Name, User: request.User, Token: token, Expires: expires,
	}, nil
}
