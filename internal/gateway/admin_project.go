package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	kindProject = "Project"
	// maxWait bounds how long a request waits for a project to be ready; clients ask again.
	maxWait = 30 * time.Second
)

// Project is a project as the gateway knows it.
type Project struct {
	store.Document
	URL   string `json:"url"`
	Ready bool   `json:"ready"` // the agent has made the newest generation true
}

func (g *Gateway) project(c store.Cluster, d store.Document) Project {
	p := Project{Document: d, URL: g.projectURL(c.Name, d.Name)}
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
		var look <-chan time.Time // what agents report to other gateways rings no bell here
		if g.store.Shared() {
			look = time.After(signalEvery)
		}
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
		case <-look:
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
	d, err := g.store.Document(r.Context(), c.ID, kindProject, r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	// what it becomes is not asked of the store afterwards: a quick agent may have made it true by then, and it is gone
	if d.Generation, err = g.store.DeleteDocument(r.Context(), c.ID, kindProject, d.Name); err != nil {
		return nil, err
	}
	d.Deleted = true
	g.changes.ring(c.ID)
	return g.project(c, d), nil
}

// openProject fetches a page of a project through the tunnel, for the administrator.
func (g *Gateway) openProject(w http.ResponseWriter, r *http.Request) {
	c, err := g.cluster(r)
	var p *peer
	if err == nil {
		if p = g.reach(r.Context(), c.ID, c.Name, g.fleet.permit(c.ID)); p == nil {
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
	g.forwardPage(w, r, p, administrator(), r.PathValue("name"), strings.TrimPrefix((&url.URL{Path: "/" + r.PathValue("path")}).EscapedPath(), "/"))
}
