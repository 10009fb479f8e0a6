package audit

import (
	"net/http"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/policy"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// OfKube is what a request to the Kubernetes API is about; escaped is its path there.
func OfKube(r *http.Request, escaped string) Event {
	path, err := wire.CleanPath(escaped)
	if err != nil {
		return Event{Path: escaped} // it will be refused
	}
	query := r.URL.Query()
	p := policy.Parse(r.Method, path, query)
	return Event{
		Verb: p.Verb, APIGroup: p.Group, Resource: p.Resource, Subresource: p.Subresource, Namespace: p.Namespace, Name: p.Name,
		Path: path, Query: Query(query),
	}
}

// OfPage is what a request to a page of a project is about; escaped is the project and the path there.
func OfPage(_ *http.Request, escaped string) Event {
	project, path, _ := strings.Cut(strings.TrimPrefix(escaped, "/"), "/")
	return Event{Verb: "get", APIGroup: "pipeops.io", Resource: "projects", Subresource: "proxy", Name: project, Path: "/" + path}
}

// OfConnect is what a connection to a service or a pod is about; escaped is the path of a wire.Target.
func OfConnect(_ *http.Request, escaped string) Event {
	t, err := wire.TargetOfPath(escaped)
	if err != nil {
		return Event{Verb: "connect", Path: escaped} // it will be refused
	}
	resource := "services"
	if t.Kind == wire.KindPod {
		resource = "pods"
	}
	return Event{Verb: "connect", Resource: resource, Namespace: t.Namespace, Name: t.Name, Path: escaped, Target: t.Network + "/" + t.Port}
}
