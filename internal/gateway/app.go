package gateway

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// appHost reads NAME.CLUSTER.<apps domain>. ok reports whether the host is such a name: then nothing but that project answers there.
func (g *Gateway) appHost(host string) (project, cluster string, ok bool) {
	if g.AppsDomain == "" {
		return "", "", false
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	rest, below := strings.CutSuffix(strings.TrimSuffix(strings.ToLower(host), "."), "."+g.AppsDomain)
	project, cluster, two := strings.Cut(rest, ".")
	if !below || !two || !wire.ValidName(project) || !wire.ValidName(cluster) {
		return "", "", false
	}
	return project, cluster, true
}

// projectURL is where the pages of a project are: at a host name of their own, if there is a domain for that.
func (g *Gateway) projectURL(cluster, project string) string {
	base := g.url()
	if g.AppsDomain == "" {
		return base + wire.PathProjects + "/" + cluster + "/" + project + "/"
	}
	host := project + "." + cluster + "." + g.AppsDomain
	if u, err := url.Parse(base); err == nil && u.Port() != "" && u.Port() != "443" {
		host = net.JoinHostPort(host, u.Port())
	}
	return "https://" + host + "/"
}

// app answers for a project at a host name of its own. Who asks gives the user token as the password of HTTP's basic authentication, or as
// a bearer; a project that its document makes public asks for none.
func (g *Gateway) app(w http.ResponseWriter, r *http.Request, project, cluster string) {
	path := strings.TrimPrefix(r.URL.EscapedPath(), "/")
	if !wire.DotFree(path) {
		g.fail(w, r, reason.Newf(reason.ProjectUnknown, "%.60q", project))
		return
	}
	p, grant, public, err := g.appUser(r, project, cluster)
	if err != nil {
		if reason.Is(err, reason.UserRefused) {
			w.Header().Set("WWW-Authenticate", `Basic realm="`+project+`: the user token is the password"`)
		}
		g.fail(w, r, err)
		return
	}
	if !public && crossOrigin(r) { // browsers send a password that they know with what other pages ask for
		refusal.Write(w, http.StatusForbidden, reason.Newf(reason.UserRefused, "the request comes from a page of another origin"))
		return
	}
	to := &url.URL{Scheme: "http", Host: "agent", RawQuery: r.URL.RawQuery, RawPath: wire.PathAgentProject + "/" + project + "/" + path}
	if to.Path, err = url.PathUnescape(to.RawPath); err != nil {
		g.fail(w, r, reason.Newf(reason.Usage, "the path is not escaped as it should be"))
		return
	}
	header := pageHeader(r)
	if authorization := r.Header["Authorization"]; public && !hasUserToken(r) && len(authorization) > 0 {
		header["Authorization"] = authorization // it is the project's own
	}
	setUser(header, grant)
	if public {
		header.Set(wire.HeaderUser, wire.UserPublic)
	}
	g.forward(w, r, p, forwarding{
		to: to, header: header, refused: refusal.Write,
		answer: func(response *http.Response) error {
			keepCookies(response.Header)
			return agrees(header, response)
		},
		failed: func(w http.ResponseWriter, err error) {
			refusal.Write(w, http.StatusServiceUnavailable, reason.New(reason.ClusterNotConnected, p.name+": the connection was lost: "+err.Error(), nil))
		},
	})
}

// appUser finds out who asks for a project, or that anybody may.
func (g *Gateway) appUser(r *http.Request, project, cluster string) (p *peer, grant store.Grant, public bool, err error) {
	c, err := g.store.ClusterByName(r.Context(), cluster)
	if err == nil {
		public, err = g.public(r, c, project)
	}
	if err != nil && !reason.Is(err, reason.ClusterUnknown) {
		return nil, grant, false, err
	}
	if !public { // also where there is no such cluster: that is told only to those who may use it
		p, grant, err = g.authorize(r, cluster, pageToken(r))
		return p, grant, false, err
	}
	if p = g.reach(r.Context(), c.ID, c.Name, g.fleet.permit(c.ID)); p == nil {
		return nil, grant, true, reason.Newf(reason.ClusterNotConnected, "%s", cluster)
	}
	return p, grant, true, nil
}

// public reports whether the document of a project lets anybody ask for its pages.
func (g *Gateway) public(r *http.Request, c store.Cluster, project string) (bool, error) {
	d, err := g.store.Document(r.Context(), c.ID, kindProject, project)
	if reason.Is(err, reason.ProjectUnknown) {
		return false, nil
	}
	if err != nil || d.Deleted {
		return false, err
	}
	var spec wire.Project
	if err := json.Unmarshal(d.Spec, &spec); err != nil {
		return false, nil //nolint:nilerr // one that cannot be read makes nothing public
	}
	return spec.Public, nil
}

// pageToken is the user token of a request for pages.
func pageToken(r *http.Request) string {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		_, token, _ = r.BasicAuth()
	}
	return token
}

// hasUserToken reports whether a request carries a user token, which no project must see.
func hasUserToken(r *http.Request) bool {
	user, password, _ := r.BasicAuth()
	for _, line := range append(r.Header["Authorization"], user, password) {
		if strings.Contains(line, store.UserTokenPrefix) {
			return true
		}
	}
	return false
}

// crossOrigin reports whether a browser says that a request which may change something comes from another origin's page.
func crossOrigin(r *http.Request) bool {
	if upgrade, _ := wire.UpgradeOf(r.Header); upgrade != "" { // a WebSocket is a GET, and no other rule keeps pages from opening it
		origin := r.Header.Get("Origin")
		from, err := url.Parse(origin)
		return origin != "" && (err != nil || !strings.EqualFold(from.Host, r.Host))
	}
	return http.NewCrossOriginProtection().Check(r) != nil
}

// keepCookies sees to it that the cookies of a project stay its own: one for the domain above would be sent to other projects, too.
func keepCookies(header http.Header) {
	for i, line := range header["Set-Cookie"] {
		parts := strings.Split(line, ";")
		kept := parts[:1]
		for _, part := range parts[1:] {
			name, _, _ := strings.Cut(part, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "domain") {
				kept = append(kept, part)
			}
		}
		header["Set-Cookie"][i] = strings.Join(kept, ";")
	}
}

// agrees returns nil unless an answer changes to another protocol than the one that was asked for.
func agrees(asked http.Header, response *http.Response) error {
	if response.StatusCode == http.StatusSwitchingProtocols && !wire.UpgradeAgrees(asked, response.Header) {
		return errors.New("the agent switched to a protocol that was not asked for")
	}
	return nil
}
