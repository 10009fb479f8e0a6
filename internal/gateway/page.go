package gateway

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// page answers for the pages of a project: wire.PathProjects/CLUSTER/NAME/... . Browsers give the user token as the
// password of HTTP's basic authentication; the Kubernetes API does not take that, so that no page can use it there.
func (g *Gateway) page(w http.ResponseWriter, r *http.Request) {
	cluster, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), wire.PathProjects+"/"), "/")
	project, path, slash := strings.Cut(rest, "/")
	if !wire.ValidName(project) || !wire.DotFree(path) {
		g.fail(w, r, reason.Newf(reason.ProjectUnknown, "%.60q", project))
		return
	}
	p, grant, err := g.authorize(r, cluster, pageToken(r))
	if err != nil {
		if reason.Is(err, reason.UserRefused) {
			w.Header().Set("WWW-Authenticate", `Basic realm="pipeops projects: the user token is the password"`)
		}
		g.fail(w, r, err)
		return
	}
	if !slash { // so that relative links of the page work
		http.Redirect(w, r, wire.PathProjects+"/"+cluster+"/"+project+"/", http.StatusFound) //nolint:gosec // below a fixed path of this host, both names are DNS labels
		return
	}
	g.forwardPage(w, r, p, grant, project, path)
}

// forwardPage sends a request to a project. path is escaped and without its first slash.
func (g *Gateway) forwardPage(w http.ResponseWriter, r *http.Request, p *peer, grant store.Grant, project, path string) {
	to := &url.URL{Scheme: "http", Host: "agent", RawQuery: r.URL.RawQuery}
	to.RawPath = wire.PathAgentProject + "/" + project + "/" + path
	plain, err := url.PathUnescape(to.RawPath)
	if err != nil {
		g.fail(w, r, reason.Newf(reason.Usage, "the path is not escaped as it should be"))
		return
	}
	to.Path = plain
	header := pageHeader(r)
	header.Set("X-Forwarded-Prefix", wire.PathProjects+"/"+p.name+"/"+project)
	setUser(header, grant)
	g.forward(w, r, p, forwarding{
		to: to, header: header, refused: refusal.Write,
		answer: func(response *http.Response) error { return agrees(header, response) },
		failed: func(w http.ResponseWriter, err error) {
			refusal.Write(w, http.StatusServiceUnavailable, reason.New(reason.ClusterNotConnected, p.name+": the connection was lost: "+err.Error(), nil))
		},
	})
}

// pageHeader copies a header for an application, which may have headers of its own, so it is what is dropped that is
// listed here: credentials, names that mean something between gateway and agent, and what concerns one connection only.
func pageHeader(r *http.Request) http.Header {
	dropped := map[string]bool{
		"Authorization": true, "Proxy-Authorization": true, "Connection": true, "Keep-Alive": true, "Proxy-Connection": true,
		"Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true, "Forwarded": true, "X-Real-Ip": true,
	}
	upgrade := ""
	for _, line := range r.Header["Connection"] {
		for token := range strings.SplitSeq(line, ",") {
			token = strings.TrimSpace(token)
			if strings.EqualFold(token, "upgrade") {
				upgrade = r.Header.Get("Upgrade")
			}
			dropped[http.CanonicalHeaderKey(token)] = true
		}
	}
	out := http.Header{}
	for name, values := range r.Header {
		if dropped[name] || strings.HasPrefix(name, "Pipeops-") || strings.HasPrefix(name, "Impersonate-") || strings.HasPrefix(name, "X-Forwarded-") {
			continue
		}
		out[name] = append([]string(nil), values...)
	}
	if strings.EqualFold(upgrade, "websocket") {
		out.Set("Connection", "Upgrade")
		out.Set("Upgrade", "websocket")
	}
	out.Set("X-Forwarded-Host", r.Host)
	out.Set("X-Forwarded-Proto", "https")
	return out
}
