package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// ways returns what carries requests to the gateways at which machines are connected.
func (f *fleet) ways(list []store.Location, right granter) []http.RoundTripper {
	out := make([]http.RoundTripper, len(list))
	for i, l := range list {
		out[i] = between{f, l, right}
	}
	return out
}

// between carries requests for a machine to the gateway that has its session.
type between struct {
	fleet *fleet
	to    store.Location
	right granter
}

// RoundTrip asks the other gateway. The error is errNotTaken if that one cannot be reached, or has no such session any more.
func (b between) RoundTrip(r *http.Request) (*http.Response, error) {
	grant, err := b.right(r.Context())
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = "https", b.to.Address
	r.Header.Set(wire.HeaderCluster, b.to.ClusterID)
	r.Header.Set(wire.HeaderMachine, b.to.Machine)
	r.Header.Set(wire.HeaderGrant, grant)
	response, err := b.fleet.transport.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("the gateway at %s: %w", b.to.Address, err)
	}
	if response.StatusCode == http.StatusMisdirectedRequest {
		_ = response.Body.Close()
		return nil, fmt.Errorf("%w: the gateway at %s has no session of %s", errNotTaken, b.to.Address, b.to.Machine)
	}
	return response, nil
}

// between answers other gateways. It asks its own sessions only, so that no request goes round.
func (g *Gateway) between(w http.ResponseWriter, r *http.Request) {
	cluster, machine := r.Header.Get(wire.HeaderCluster), r.Header.Get(wire.HeaderMachine)
	path := r.URL.EscapedPath()
	err := g.allows(r, cluster)
	switch {
	case err != nil:
	case r.URL.Path == wire.PathAgentJoin, strings.HasPrefix(path, wire.PathAgentKube+"/"), strings.HasPrefix(path, wire.PathAgentProject+"/"),
		strings.HasPrefix(path, wire.PathAgentConnect+"/"):
	default:
		err = reason.Newf(reason.Usage, "gateways do not ask agents for %.60q", path)
	}
	if err != nil {
		g.fail(w, r, err)
		return
	}
	p := g.sessions.machine(cluster, machine)
	if p == nil {
		w.WriteHeader(http.StatusMisdirectedRequest)
		return
	}
	header := r.Header.Clone()
	for _, name := range []string{wire.HeaderCluster, wire.HeaderMachine, wire.HeaderGrant} {
		header.Del(name)
	}
	only := &way{name: p.name, here: func() []*peer {
		if p := g.sessions.machine(cluster, machine); p != nil {
			return []*peer{p}
		}
		return nil
	}}
	g.forward(w, r, &peer{id: p.id, name: p.name, machine: p.machine, way: only}, forwarding{
		to:     &url.URL{Scheme: "http", Host: "agent", Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery},
		header: header, refused: refusal.Write,
		failed: func(w http.ResponseWriter, err error) {
			if errors.Is(err, session.ErrNoStream) || reason.Is(err, reason.ClusterNotConnected) {
				w.WriteHeader(http.StatusMisdirectedRequest)
				return
			}
			refusal.Write(w, http.StatusServiceUnavailable, reason.Newf(reason.ClusterNotConnected, "%s: the connection was lost: %v", p.name, err))
		},
	})
}

// allows sees to it that another gateway asks by the right of a user, or by a permit: for that cluster, and in that name.
func (g *Gateway) allows(r *http.Request, cluster string) error {
	grant, err := g.store.GrantByID(r.Context(), r.Header.Get(wire.HeaderGrant))
	if err != nil {
		return err
	}
	users, groups := r.Header.Values(wire.HeaderUser), r.Header.Values(wire.HeaderGroup)
	// a machine that joins is no user, and neither is who reads what is public; the agent gives both no more than that
	nobody := (len(users) == 0 || slices.Equal(users, []string{wire.UserPublic})) && len(groups) == 0 && (r.URL.Path == wire.PathAgentJoin || strings.HasPrefix(r.URL.EscapedPath(), wire.PathAgentProject+"/"))
	switch {
	case grant.ClusterID != cluster:
		return reason.Newf(reason.UserRefused, "the grant %.20q is not for the cluster %.20q", grant.ID, cluster)
	case nobody:
		return nil
	case !slices.Equal(users, []string{wire.UserPrefix + grant.User}), !slices.Equal(groups, grant.Groups):
		return reason.Newf(reason.UserRefused, "the grant %.20q is not that of %.60q", grant.ID, users)
	}
	return nil
}

// handed is a listener of connections that another one has accepted.
type handed struct {
	address net.Addr
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func newHanded(address net.Addr) *handed {
	return &handed{address: address, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *handed) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *handed) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *handed) Addr() net.Addr { return l.address }

// hand gives a connection over and returns when it is closed.
func (l *handed) hand(ctx context.Context, conn *tls.Conn) {
	c := &counted{Conn: conn, closed: make(chan struct{})}
	select {
	case l.conns <- c:
	case <-l.closed:
		return
	case <-ctx.Done():
		return
	}
	<-c.closed
}

// counted is a connection that tells when it is closed. net/http closes every connection of a server that is closed.
type counted struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *counted) Close() error {
	defer c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
