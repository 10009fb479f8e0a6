package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/policy"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Pages serves wire.PathAgentProject/NAME/...: the project's own HTTP pages, by its Service. Only projects that the agent deployed can be
// reached, and only where allow, if it is not nil, has nothing against it. dial connects to a Service by its name.
func Pages(source *cluster.Source, dial func(context.Context, wire.Target) (net.Conn, error), allow func(policy.Request) error, log *slog.Logger) http.Handler {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // services are never behind a proxy
	transport.DisableCompression = true
	transport.MaxIdleConnsPerHost = 64 // making one asks the Kubernetes API some things
	transport.DialContext = func(ctx context.Context, _, address string) (net.Conn, error) {
		project, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		return dial(ctx, wire.Target{Network: "tcp", Kind: wire.KindService, Namespace: Namespace(project), Name: project, Port: port})
	}
	proxy := &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			target, _ := r.In.Context().Value(targetKey{}).(*url.URL)
			r.Out.URL = target
			r.Out.Host = r.In.Host
			if host := r.In.Header.Get("X-Forwarded-Host"); host != "" { // that of the user, as the gateway saw it
				r.Out.Host = host
			}
			for name := range r.Out.Header {
				if strings.HasPrefix(name, "Pipeops-") {
					r.Out.Header.Del(name)
				}
			}
			if r.In.Header.Get(wire.HeaderUser) != wire.UserPublic {
				r.Out.Header.Del("Authorization") // it was for the gateway, not for the project
			}
		},
		ModifyResponse: func(response *http.Response) error {
			if response.StatusCode == http.StatusSwitchingProtocols && !wire.UpgradeAgrees(response.Request.Header, response.Header) {
				return errors.New("the project switched to a protocol that was not asked for")
			}
			return nil
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
		err = ours(r.Context(), source, name)
		if apierrors.IsNotFound(err) {
			refusal.Write(w, http.StatusNotFound, reason.Newf(reason.ProjectUnknown, "%q", name))
			return
		}
		if err != nil {
			refusal.Write(w, http.StatusBadGateway, reason.New(reason.ProjectUnreachable, err.Error(), nil))
			return
		}
		target := &url.URL{Scheme: "http", Host: net.JoinHostPort(name, strconv.Itoa(servicePort)), Path: "/" + plain, RawPath: "/" + rest, RawQuery: r.URL.RawQuery}
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

// ours returns nil if the Service of a project is the agent's.
func ours(ctx context.Context, source *cluster.Source, project string) error {
	client, err := source.Client()
	if err != nil {
		return err
	}
	service, err := resource(client, "Service", Namespace(project)).Get(ctx, project, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if service.GetLabels()[managedBy] != wire.FieldManager {
		return fmt.Errorf("the service %s is not the agent's", project)
	}
	return nil
}
