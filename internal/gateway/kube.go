package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/audit"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// kube answers for the Kubernetes API of a cluster: wire.PathClusters/NAME/..., or any path that is none of the gateway's own, which means
// the cluster that the token is for: kubectl get --raw and kubectl proxy leave out the path of the server that they are given. It says who
// asks; the cluster's own RBAC says what they may.
func (g *Gateway) kube(w http.ResponseWriter, r *http.Request) {
	name, rest := "", r.URL.EscapedPath()
	below, named := strings.CutPrefix(rest, wire.PathClusters+"/")
	if named {
		name, rest, _ = strings.Cut(below, "/")
		rest = "/" + rest
	}
	path, err := wire.CleanPath(rest)
	if err == nil {
		_, err = wire.CleanQuery(r.URL.RawQuery)
	}
	if err != nil {
		refusal.WriteStatus(w, http.StatusBadRequest, "BadRequest", err.Error())
		return
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !named {
		grant, err := g.store.Authenticate(r.Context(), token)
		if err != nil {
			g.knows(r, grant, err)
			g.failKube(w, r, err)
			return
		}
		name = grant.Cluster
		audit.Of(r.Context()).Change(func(e *audit.Event) { e.Cluster = name })
	}
	p, grant, err := g.authorize(r, name, token)
	if err != nil {
		g.failKube(w, r, err)
		return
	}
	header, upgrade, ok := wire.KubeHeader(r.Header)
	if !ok || upgrade != "" && r.ContentLength != 0 {
		refusal.WriteStatus(w, http.StatusBadRequest, "BadRequest", "the protocol that is asked for is not one of the Kubernetes API's, or a body comes before it")
		return
	}
	name = p.name
	setUser(header, grant)
	if impersonates(r.Header) {
		w.Header().Set("Warning", `299 pipeops-gateway "the gateway does not carry impersonation (--as): this is the answer to `+grant.User+`"`)
	}
	g.forward(w, r, p, forwarding{
		to:     &url.URL{Scheme: "http", Host: "agent", Path: wire.PathAgentKube + path, RawQuery: r.URL.RawQuery},
		header: header,
		answer: func(response *http.Response) error {
			if response.StatusCode != http.StatusSwitchingProtocols {
				response.Body = session.Answer(w, response.Body)
			} else if !wire.UpgradeAgrees(header, response.Header) {
				return errors.New("the agent switched to a protocol that was not asked for")
			}
			return nil
		},
		refused: refuseKube,
		failed: func(w http.ResponseWriter, err error) {
			refusal.WriteStatus(w, http.StatusServiceUnavailable, "ClusterNotConnected", fmt.Sprintf("the connection to the cluster %s was lost: %v", name, err))
		},
	})
}

// asUser reports whether a request has a user token as the Kubernetes API takes it.
func asUser(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Authorization"), "Bearer "+store.UserTokenPrefix)
}

// authorize finds out who asks, whether they may use the cluster, and the cluster's session.
func (g *Gateway) authorize(r *http.Request, cluster, token string) (*peer, store.Grant, error) {
	grant, err := g.store.Authenticate(r.Context(), token)
	g.knows(r, grant, err)
	if err != nil {
		return nil, grant, err
	}
	if grant.Cluster != cluster {
		// Whether there is a cluster of a name is told only to those who may use it.
		return nil, grant, reason.Newf(reason.UserRefused, "it is not for the cluster %.60q", cluster)
	}
	p := g.reach(r.Context(), grant.ClusterID, grant.Cluster, byGrant(grant))
	if p == nil {
		seen := "it has never been"
		if !grant.LastSeen.IsZero() {
			seen = "it was last seen " + g.Now().Sub(grant.LastSeen).Round(time.Second).String() + " ago"
		}
		return nil, grant, reason.Newf(reason.ClusterNotConnected, "%s: %s", cluster, seen)
	}
	return p, grant, nil
}

// setUser names the user to the agent. Whatever the user sent under these names is not in the header.
func setUser(header http.Header, grant store.Grant) {
	header.Set(wire.HeaderUser, wire.UserPrefix+grant.User)
	for _, group := range grant.Groups {
		header.Add(wire.HeaderGroup, group)
	}
}

// impersonates reports whether a user asked to be somebody else, which KubeHeader leaves behind. They should know.
func impersonates(header http.Header) bool {
	for name := range header {
		if strings.HasPrefix(name, "Impersonate-") {
			return true
		}
	}
	return false
}

// failKube answers so that kubectl prints what is wrong.
func (g *Gateway) failKube(w http.ResponseWriter, r *http.Request, err error) {
	var known *reason.Error
	if !errors.As(err, &known) {
		g.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		refusal.WriteStatus(w, http.StatusInternalServerError, "InternalError", "the gateway failed")
		return
	}
	switch known.Code {
	case reason.UserRefused:
		w.Header().Set("WWW-Authenticate", `Bearer realm="pipeops-gateway"`)
		refusal.WriteStatus(w, http.StatusUnauthorized, "Unauthorized", known.Error())
	case reason.ClusterNotConnected:
		refusal.WriteStatus(w, http.StatusServiceUnavailable, "ClusterNotConnected", known.Error())
	default:
		refusal.WriteStatus(w, http.StatusForbidden, "Forbidden", known.Error())
	}
}

// refuseKube answers so that kubectl prints why a request does not go to the cluster.
func refuseKube(w http.ResponseWriter, status int, err error) {
	cause := "ServiceUnavailable"
	if status == http.StatusTooManyRequests {
		cause = "TooManyRequests"
	}
	refusal.WriteStatus(w, status, cause, err.Error())
}

// forwarding is a request on its way to an agent.
type forwarding struct {
	to      *url.URL
	header  http.Header // whole: nothing of the user's own is added
	answer  func(*http.Response) error
	failed  func(http.ResponseWriter, error)
	refused func(w http.ResponseWriter, status int, err error)
}

func (g *Gateway) forward(w http.ResponseWriter, r *http.Request, p *peer, f forwarding) {
	taken, err := g.room(w, r, p, f.header)
	if err != nil {
		refusal.Note(w, err)
		f.refused(w, http.StatusTooManyRequests, err)
		return
	}
	defer taken.release()
	if err := g.admitted(r, p, f.header); err != nil {
		refusal.Note(w, err)
		f.refused(w, http.StatusServiceUnavailable, err)
		return
	}
	defer p.carry()()
	w, r = taken.paced(w, r)
	// An answer may start before the request has been read whole. Only HTTP/1.1 needs to be told.
	_ = http.NewResponseController(w).EnableFullDuplex()
	(&httputil.ReverseProxy{
		Transport:     p.transport(),
		FlushInterval: -1, // watches and logs
		ModifyResponse: func(response *http.Response) error {
			taken.opened()
			if f.answer == nil {
				return nil
			}
			return f.answer(response)
		},
		ErrorLog:   slog.NewLogLogger(g.Log.Handler(), slog.LevelDebug),
		BufferPool: &g.buffers,
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL, pr.Out.Host, pr.Out.Header, pr.Out.Trailer = f.to, "agent", f.header, nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			g.Log.Info("request to an agent failed", "cluster", p.name, "method", r.Method, "path", f.to.Path, "request", f.header.Get(wire.HeaderRequest), "trace", audit.Of(r.Context()).Event().Trace, "err", err)
			f.failed(w, err)
		},
	}).ServeHTTP(w, r)
}
