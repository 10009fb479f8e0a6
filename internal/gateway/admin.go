package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// DefaultTokenLife is that of a join token.
	DefaultTokenLife = time.Hour
	// DefaultUserLife is that of a user token.
	DefaultUserLife = 30 * 24 * time.Hour
	// maxWait bounds how long a request waits for a project to be ready; clients ask again.
	maxWait = 30 * time.Second

	kindProject = "Project"
)

// ClusterInfo is a cluster as `clusters` shows it.
type ClusterInfo struct {
	store.Cluster
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"` // of the present session
	Remote    string    `json:"remote,omitempty"`
}

// NewToken is a join token in the moment in which it is made.
type NewToken struct {
	store.Token
	Secret string `json:"token"` // the whole token
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

// Project is a project as the gateway knows it.
type Project struct {
	store.Document
	URL   string `json:"url"`
	Ready bool   `json:"ready"` // the agent has made the newest generation true
}

// tokenRequest, accessRequest are bodies of requests of administrators.
type (
	tokenRequest struct {
		Cluster    string `json:"cluster,omitempty"`
		TTLSeconds int64  `json:"ttl_seconds,omitempty"`
	}
	accessRequest struct {
		User       string `json:"user,omitempty"`
		TTLSeconds int64  `json:"ttl_seconds,omitempty"`
	}
)

// listenAdmin makes the administrators' socket. Only root and the gateway's own user may connect.
func (g *Gateway) listenAdmin() (net.Listener, error) {
	path := AdminSocket(g.Data)
	if other, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = other.Close()
		return nil, reason.Newf(reason.Busy, "another gateway serves with the data folder %s", g.Data)
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("cannot remove the old socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
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
	handle("GET /tokens", func(r *http.Request) (any, error) { return g.store.Tokens(r.Context()) })
	handle("GET /users", func(r *http.Request) (any, error) { return g.store.Users(r.Context()) })
	handle("GET /clusters", g.listClusters)
	handle("GET /clusters/{cluster}/facts", g.clusterFacts)
	handle("GET /clusters/{cluster}/events", g.clusterEvents)
	handle("POST /clusters/{cluster}/access", g.createAccess)
	handle("GET /clusters/{cluster}/projects", g.listProjects)
	handle("GET /clusters/{cluster}/projects/{name}", g.getProject)
	handle("PUT /clusters/{cluster}/projects/{name}", g.putProject)
	handle("DELETE /clusters/{cluster}/projects/{name}", g.deleteProject)
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
	life := DefaultTokenLife
	if request.TTLSeconds != 0 {
		life = time.Duration(request.TTLSeconds) * time.Second
	}
	if life < time.Second || life > 7*24*time.Hour {
		return nil, reason.Newf(reason.Usage, "a join token lives from a second to a week, not %s", life)
	}
	token := wire.NewToken(g.authority.cert.Raw)
	kept, err := g.store.AddToken(r.Context(), token, request.Cluster, life)
	g.Log.Info("join token made", "token", token.ID, "cluster", request.Cluster, "life", life)
	return NewToken{Token: kept, Secret: token.Reveal()}, err
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

func (g *Gateway) project(c store.Cluster, d store.Document) Project {
	p := Project{Document: d, URL: g.url() + wire.PathProjects + "/" + c.Name + "/" + d.Name + "/"}
	for _, condition := range d.Conditions {
		p.Ready = p.Ready || d.Observed == d.Generation && !d.Deleted && condition.Type == "Available" && condition.Status == "True"
	}
	return p
}

func (g *Gateway) listProjects(r *http.Request) (any, error) {
	c, err := g.cluster(r)
	if err != nil {
		return nil, err
	}
	documents, err := g.store.Documents(r.Context(), c.ID, kindProject)
	if err != nil {
		return nil, err
	}
	list := make([]Project, 0, len(documents))
	for _, d := range documents {
		list = append(list, g.project(c, d))
	}
	return list, nil
}

// getProject answers at once, or, with ?wait=SECONDS, when the project is ready.
func (g *Gateway) getProject(r *http.Request) (any, error) {
	c, err := g.cluster(r)
	if err != nil {
		return nil, err
	}
	seconds, _ := strconv.Atoi(r.URL.Query().Get("wait"))
	ctx, cancel := context.WithTimeout(r.Context(), min(time.Duration(seconds)*time.Second, maxWait))
	defer cancel()
	for {
		reported := g.changes.wait(statusBell(c.ID))
		d, err := g.store.Document(r.Context(), c.ID, kindProject, r.PathValue("name"))
		if err != nil {
			return nil, err
		}
		project := g.project(c, d)
		if project.Ready {
			return project, nil
		}
		select {
		case <-reported:
		case <-ctx.Done():
			return project, nil
		}
	}
}

func (g *Gateway) putProject(r *http.Request) (any, error) {
	c, err := g.cluster(r)
	if err != nil {
		return nil, err
	}
	var p wire.Project
	if err := read(r, &p); err != nil {
		return nil, err
	}
	if p.Name != r.PathValue("name") {
		return nil, reason.Newf(reason.ProjectInvalid, "name %q is not that of the request", p.Name)
	}
	if err := p.Validate(); err != nil {
		return nil, reason.Newf(reason.ProjectInvalid, "%v", err)
	}
	spec, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("cannot store the project: %w", err)
	}
	if _, err := g.store.PutDocument(r.Context(), c.ID, kindProject, p.Name, spec); err != nil {
		return nil, err
	}
	g.changes.ring(c.ID)
	d, err := g.store.Document(r.Context(), c.ID, kindProject, p.Name)
	return g.project(c, d), err
}

func (g *Gateway) deleteProject(r *http.Request) (any, error) {
	c, err := g.cluster(r)
	if err != nil {
		return nil, err
	}
	if _, err := g.store.DeleteDocument(r.Context(), c.ID, kindProject, r.PathValue("name")); err != nil {
		return nil, err
	}
	g.changes.ring(c.ID)
	d, err := g.store.Document(r.Context(), c.ID, kindProject, r.PathValue("name"))
	return g.project(c, d), err
}

// openProject fetches a page of a project through the tunnel, for the administrator.
func (g *Gateway) openProject(w http.ResponseWriter, r *http.Request) {
	c, err := g.cluster(r)
	var p *peer
	if err == nil {
		if p = g.sessions.get(c.ID); p == nil {
			err = reason.Newf(reason.ClusterNotConnected, "%s", c.Name)
		}
	}
	if err == nil && !wire.DotFree(r.PathValue("path")) {
		err = reason.Newf(reason.Usage, "the path has dot segments")
	}
	if err != nil {
		g.fail(w, r, err)
		return
	}
	grant := store.Grant{User: "admin", Groups: []string{wire.GroupAdmins}}
	g.forwardPage(w, r, p, grant, r.PathValue("name"), strings.TrimPrefix((&url.URL{Path: "/" + r.PathValue("path")}).EscapedPath(), "/"))
}
