package deploy

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/policy"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Pages serves wire.PathAgentProject/NAME/...: the project's own HTTP pages, by the address of its Service. Only projects
// that the agent deployed can be reached, and only where allow, if it is not nil, has nothing against it.
// dial reaches the addresses of Services; nil means that this is a node of the cluster.
func Pages(source *cluster.Source, dial func(ctx context.Context, network, address string) (net.Conn, error), allow func(policy.Request) error, log *slog.Logger) http.Handler {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // service addresses are never behind a proxy
	if transport.DialContext = dialService; dial != nil {
		transport.DialContext = dial
	}
	proxy := &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			target, _ := r.In.Context().Value(targetKey{}).(*url.URL)
			r.Out.URL = target
			r.Out.Host = r.In.Host
			for name := range r.Out.Header {
				if strings.HasPrefix(name, "Pipeops-") {
					r.Out.Header.Del(name)
				}
			}
			r.Out.Header.Del("Authorization") // it was for the gateway, not for the project
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			log.Debug("project page failed", "path", r.URL.Path, "err", err)
			refusal.Write(w, http.StatusBadGateway, reason.New(reason.ProjectUnreachable, err.Error(), nil))
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), wire.PathAgentProject+"/"), "/")
		plain, err := url.PathUnescape(rest)
		switch {
		case r.Header.Get(wire.HeaderUser) == "":
			refusal.Write(w, http.StatusForbidden, reason.Newf(reason.UserMissing, "a project page"))
			return
		case !wire.ValidName(name) || err != nil || !wire.DotFree(rest):
			refusal.Write(w, http.StatusNotFound, reason.Newf(reason.ProjectUnknown, "%q", name))
			return
		}
		if allow != nil {
			if err := allow(wanted("get", name, "proxy")); err != nil {
				refusal.Write(w, http.StatusForbidden, err)
				return
			}
		}
		address, err := serviceAddress(r.Context(), source, name)
		if apierrors.IsNotFound(err) {
			refusal.Write(w, http.StatusNotFound, reason.Newf(reason.ProjectUnknown, "%q", name))
			return
		}
		if err != nil {
			refusal.Write(w, http.StatusBadGateway, reason.New(reason.ProjectUnreachable, err.Error(), nil))
			return
		}
		target := &url.URL{Scheme: "http", Host: address, Path: "/" + plain, RawPath: "/" + rest, RawQuery: r.URL.RawQuery}
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), targetKey{}, target)))
	})
}

// wanted is what is wanted of a project, in the words of a policy: projects.pipeops.io, and projects.pipeops.io/proxy for its pages.
func wanted(verb, project, subresource string) policy.Request {
	r := policy.Request{Verb: verb, Group: "pipeops.io", Resource: "projects", Subresource: subresource, Namespace: Namespace(project), Name: project}
	if subresource == "proxy" {
		r.Port = servicePort
	}
	return r
}

type targetKey struct{}

// serviceAddress returns host:port of the Service of a project. Addresses that are no cluster addresses are refused: the
// object could have been edited to reach the machine itself.
func serviceAddress(ctx context.Context, source *cluster.Source, project string) (string, error) {
	client, err := source.Client()
	if err != nil {
		return "", err
	}
	service, err := resource(client, "Service", Namespace(project)).Get(ctx, project, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	text, _, _ := unstructured.NestedString(service.Object, "spec", "clusterIP")
	address, err := netip.ParseAddr(text)
	if err != nil || !address.IsGlobalUnicast() || address.IsLoopback() {
		return "", fmt.Errorf("the service of %s has no cluster address", project)
	}
	if service.GetLabels()[managedBy] != wire.FieldManager {
		return "", fmt.Errorf("the service %s is not the agent's", project)
	}
	return net.JoinHostPort(address.String(), strconv.Itoa(servicePort)), nil
}
