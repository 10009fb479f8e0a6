// Package apiproxy answers for the Kubernetes API on the streams of a tunnel. It asks the API server with the agent's own
// credentials but as the user whom the gateway names, by impersonation: nothing is done with the agent's own rights.
//
// The header of every request is built from nothing. What the caller sent is copied only where it is known to give no
// right; Impersonate-*, Authorization and whatever the Connection header lists cannot get through by any spelling.
package apiproxy

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/policy"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Upstream is how the API server is reached. Both transports authenticate as the agent.
type Upstream struct {
	Base    *url.URL          // of the API server
	HTTP    http.RoundTripper // HTTP/2 where the server offers it
	Upgrade http.RoundTripper // HTTP/1.1 only, for exec, attach and port-forward
}

// Options say what the proxy serves.
type Options struct {
	// Upstream returns the API server of the moment; an error means that there is none now.
	Upstream func(context.Context) (Upstream, error)
	// Allow returns why the owner of the machine does not want a request; nil allows every one.
	Allow func(policy.Request) error
	Log   *slog.Logger
}

// New returns the handler of wire.PathAgentKube and all below it.
func New(o Options) http.Handler {
	p := &proxy{Options: o}
	p.forward = httputil.ReverseProxy{
		FlushInterval: -1, // watches and logs
		BufferPool:    &p.buffers,
		ErrorLog:      slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	return p
}

type proxy struct {
	Options
	buffers session.Buffers
	forward httputil.ReverseProxy // what is the same for all requests
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), wire.PathAgentKube)
	if !ok {
		refusal.WriteStatus(w, http.StatusNotFound, "NotFound", "no such path")
		return
	}
	path, err := wire.CleanPath(rest)
	if err != nil {
		refusal.WriteStatus(w, http.StatusBadRequest, "BadRequest", err.Error())
		return
	}
	query, err := wire.CleanQuery(r.URL.RawQuery)
	if err != nil {
		refusal.WriteStatus(w, http.StatusBadRequest, "BadRequest", err.Error())
		return
	}
	header, upgrade, err := buildHeader(r.Header)
	if err == nil && upgrade != "" && r.ContentLength != 0 {
		err = errUpgrade // what follows the request would be read as the new protocol by one, and as a body by another
	}
	if err != nil {
		status, cause := http.StatusForbidden, "Forbidden"
		if errors.Is(err, errUpgrade) {
			status, cause = http.StatusBadRequest, "BadRequest"
		}
		refusal.WriteStatus(w, status, cause, err.Error())
		return
	}
	if p.Allow != nil {
		if err := p.Allow(policy.Parse(r.Method, path, query)); err != nil {
			p.Log.Info("request forbidden by the policy of this machine", "user", header.Get("Impersonate-User"), "request", r.Header.Get(wire.HeaderRequest), "err", err)
			refusal.Note(w, err)
			refusal.WriteStatus(w, http.StatusForbidden, "Forbidden", err.Error())
			return
		}
	}
	upstream, err := p.Upstream(r.Context())
	if err != nil {
		p.Log.Debug("no api server", "err", err)
		refusal.WriteStatus(w, http.StatusServiceUnavailable, "ServiceUnavailable", "the agent cannot reach the Kubernetes API of its machine: "+err.Error())
		return
	}
	transport := upstream.HTTP
	if upgrade != "" {
		transport = upstream.Upgrade
	}
	// An answer may start before the request has been read whole. Only HTTP/1.1 needs to be told.
	_ = http.NewResponseController(w).EnableFullDuplex()
	forward := p.forward
	forward.Transport = transport
	forward.Rewrite = func(pr *httputil.ProxyRequest) {
		target := *upstream.Base
		target.Path = strings.TrimSuffix(target.Path, "/") + path
		target.RawPath = ""
		target.RawQuery = pr.In.URL.RawQuery
		pr.Out.URL, pr.Out.Host, pr.Out.Header, pr.Out.Trailer = &target, "", header, nil
	}
	forward.ModifyResponse = func(response *http.Response) error {
		if response.StatusCode != http.StatusSwitchingProtocols {
			response.Body = session.Answer(w, response.Body)
		} else if !wire.UpgradeAgrees(header, response.Header) {
			return errors.New("the API server switched to a protocol that was not asked for")
		}
		return nil
	}
	forward.ErrorHandler = func(w http.ResponseWriter, r *http.Request, err error) {
		p.Log.Debug("request to the api server failed", "method", r.Method, "path", path, "err", err)
		refusal.WriteStatus(w, http.StatusBadGateway, "BadGateway", "the agent cannot reach the Kubernetes API of its machine: "+err.Error())
	}
	forward.ServeHTTP(w, r)
}
