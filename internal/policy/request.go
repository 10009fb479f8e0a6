package policy

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Request is what somebody wants of the cluster, in the words of RBAC.
type Request struct {
	Verb        string // get, list, watch, create, update, patch, delete, deletecollection
	Group       string // "" is that of pods and services
	Resource    string // in the plural: pods; "" where Path is no resource
	Subresource string // log, exec
	Namespace   string // "" is all, or a resource that is in none
	Name        string
	Port        int    // of a pod or service that is asked through the API server; 0 means none, or one that cannot be seen
	Path        string // of what is no resource: /version
}

// String is the request in one line: "get pods/exec web-0 in shop".
func (r Request) String() string {
	if r.Resource == "" {
		return r.Verb + " " + r.Path
	}
	var s strings.Builder
	s.WriteString(r.Verb + " " + r.full())
	if r.Name != "" {
		s.WriteString(" " + r.Name)
	}
	switch {
	case r.Namespace != "" && r.Resource != "namespaces":
		s.WriteString(" in " + r.Namespace)
	case r.Namespace == "" && r.Name == "":
		s.WriteString(" everywhere")
	}
	return s.String()
}

// full is the resource with its group and subresource, as kubectl writes it: deployments.apps/scale.
func (r Request) full() string {
	s := r.Resource
	if r.Group != "" {
		s += "." + r.Group
	}
	if r.Subresource != "" {
		s += "/" + r.Subresource
	}
	return s
}

// Parse reads a request to the Kubernetes API as its server does (k8s.io/apiserver, pkg/endpoints/request/requestinfo.go of v1.33). The
// path is the one that goes to the server: decoded, without empty and dot segments. What it cannot make out becomes a request that no
// rule but "everything" allows, and where a segment is empty that names the resource, one that no policy does.
func Parse(method, path string, query url.Values) Request {
	r := Request{Verb: verbs()[method], Path: path}
	if r.Verb == "" {
		r.Verb = noVerb(method)
	}
	segments := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case segments[0] == "api" && len(segments) >= 3:
		segments = segments[2:]
	case segments[0] == "apis" && len(segments) >= 4:
		r.Group, segments = segments[1], segments[3:]
	default:
		return r
	}
	r.Path = ""
	if old := segments[0]; (old == "watch" || old == "proxy") && len(segments) > 1 { // forms from before Kubernetes 1.11
		segments = segments[1:]
		if r.Verb = old; old == "watch" && method != http.MethodGet && method != http.MethodHead {
			r.Verb = noVerb(method)
		}
	}
	if segments[0] == "namespaces" && len(segments) > 1 {
		r.Namespace = segments[1]
		if len(segments) > 2 && segments[2] != "status" && segments[2] != "finalize" {
			segments = segments[2:]
		}
	}
	r.Resource = segments[0]
	if len(segments) > 1 {
		r.Name = segments[1]
	}
	if len(segments) > 2 {
		r.Subresource = segments[2]
	}
	if r.Subresource == "proxy" {
		r.Name, r.Port = target(r.Name)
	}
	if r.Name == "" {
		switch r.Verb {
		case "get":
			r.Verb = "list"
			if watching(query) {
				r.Verb = "watch"
			}
		case "delete":
			r.Verb = "deletecollection"
		}
	}
	return r
}

func verbs() map[string]string {
	return map[string]string{
		http.MethodGet: "get", http.MethodHead: "get", http.MethodPost: "create", http.MethodPut: "update",
		http.MethodPatch: "patch", http.MethodDelete: "delete",
	}
}

// noVerb is that of a method that Kubernetes knows none for: it is in no rule, and reads nothing, however the method is spelled.
func noVerb(method string) string { return "method " + method }

// watching reads the parameter as Kubernetes reads one that is a boolean.
func watching(query url.Values) bool {
	values, there := query["watch"]
	return there && len(values) > 0 && values[0] != "0" && !strings.EqualFold(values[0], "false")
}

// target takes apart what the API server proxies to: [https:]name[:port]. A port that has a name is -1, as none can be compared with it.
func target(name string) (string, int) {
	parts := strings.Split(name, ":")
	if len(parts) > 1 && (parts[0] == "http" || parts[0] == "https" || parts[0] == "") {
		parts = parts[1:]
	}
	switch {
	case len(parts) == 1, parts[1] == "":
		return parts[0], 0
	case len(parts) > 2:
		return name, -1
	}
	port, err := strconv.Atoi(parts[1])
	if err != nil || port < 1 || port > 65535 {
		return parts[0], -1
	}
	return parts[0], port
}

// runs reports whether the request runs something in a container, or on a node, that its image does not.
func (r Request) runs() bool {
	switch r.Resource {
	case "pods":
		return slices.Contains([]string{"exec", "attach", "ephemeralcontainers"}, r.Subresource)
	case "nodes":
		return r.Subresource == "proxy" // the kubelet runs commands for those who may ask it
	}
	return false
}

// reads reports whether the request changes nothing, and opens no way to what could be changed.
func (r Request) reads() bool {
	if r.reviews() {
		return true
	}
	if !slices.Contains([]string{"get", "list", "watch"}, r.Verb) {
		return false
	}
	return !slices.Contains([]string{"exec", "attach", "portforward", "proxy"}, r.Subresource)
}

// reviews reports whether the request asks what its user may do, or who it is: kubectl auth can-i, kubectl auth whoami.
func (r Request) reviews() bool {
	switch r.Group {
	case "authorization.k8s.io":
		return r.Verb == "create" && slices.Contains([]string{"selfsubjectaccessreviews", "selfsubjectrulesreviews"}, r.Resource)
	case "authentication.k8s.io":
		return r.Verb == "create" && r.Resource == "selfsubjectreviews"
	}
	return false
}

// discovers reports whether the request asks which resources there are, without which no client can ask for any.
func (r Request) discovers() bool {
	if r.Resource != "" || r.Verb != "get" {
		return false
	}
	first, _, _ := strings.Cut(strings.Trim(r.Path, "/"), "/")
	return slices.Contains([]string{"", "api", "apis", "openapi", "version", "healthz", "livez", "readyz"}, first)
}
