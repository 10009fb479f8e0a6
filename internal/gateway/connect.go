package gateway

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/audit"
	"github.com/pipeopshq/pipeops-agent/internal/carry"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// maxWaitingDatagrams bounds what waits in all flows of datagrams through a gateway, in bytes.
const maxWaitingDatagrams = 64 << 20

// connectTimeout bounds how long an agent may take to connect: what it asks the Kubernetes API, and its own dials.
const connectTimeout = 45 * time.Second

// connect answers for TCP and UDP to services and pods of a cluster: wire.PathConnect/CLUSTER and the path of a wire.Target. It says who
// asks; the agent finds out what the target is, whether the user may, and whether the owner of the machine allows it.
func (g *Gateway) connect(w http.ResponseWriter, r *http.Request) {
	cluster, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), wire.PathConnect+"/"), "/")
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	p, grant, err := g.authorize(r, cluster, token)
	if err != nil {
		if reason.Is(err, reason.UserRefused) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="pipeops-gateway"`)
		}
		g.fail(w, r, err)
		return
	}
	t, err := wire.TargetOfPath("/" + rest)
	switch {
	case err != nil:
		g.fail(w, r, reason.Newf(reason.Usage, "%v", err))
		return
	case r.Method != http.MethodGet || r.ProtoMajor != 1 || r.ProtoMinor != 1 || !wire.AsksConnect(r.Header):
		w.Header().Set("Upgrade", wire.Connect)
		refusal.Write(w, http.StatusUpgradeRequired, reason.Newf(reason.Usage, "want GET by HTTP/1.1 with an upgrade to %s", wire.Connect))
		return
	case !g.work.enter():
		g.fail(w, r, reason.Newf(reason.GatewayStopping, "it takes no more connections"))
		return
	}
	defer g.work.leave()
	taken, err := g.room(w, r, p, r.Header)
	if err != nil {
		refusal.Write(w, http.StatusTooManyRequests, err)
		return
	}
	defer taken.release()
	named := http.Header{}
	if err := g.admitted(r, p, named); err != nil {
		g.fail(w, r, err)
		return
	}
	defer p.carry()()
	far, err := open(r.Context(), p.transport(), grant, t, named)
	taken.opened()
	if err != nil {
		status := http.StatusBadGateway
		var refused *refusedError
		if errors.As(err, &refused) {
			status = refused.status
		}
		g.Log.Info("connection refused", "user", grant.User, "cluster", cluster, "target", t.String(), "network", t.Network, "err", err)
		refusal.Write(w, status, err)
		return
	}
	slowed, _ := taken.paced(w, r)
	near, err := carry.Switch(slowed)
	if err != nil {
		_ = far.Close()
		g.Log.Info("connection lost", "user", grant.User, "cluster", cluster, "target", t.String(), "err", err)
		return
	}
	if err := session.Tune(near); err != nil { // a user whose machine is gone is noticed, and little waits in the kernel
		g.Log.Debug("connection not tuned", "err", err)
	}
	g.Log.Info("connection opened", "user", grant.User, "cluster", cluster, "target", t.String(), "network", t.Network)
	entry := audit.Of(r.Context())
	began := g.Now()
	result := carry.Relay(context.WithoutCancel(r.Context()), near, far, t.Network == "udp", &g.datagrams)
	if entry.Refused(result.Outcome.String()); result.Err != nil {
		entry.Broken()
	}
	g.Log.Info("connection ended", "user", grant.User, "cluster", cluster, "target", t.String(), "network", t.Network, "sent", result.Sent,
		"received", result.Received, "dropped", result.Dropped, "outcome", result.Outcome.String(), "after", g.Now().Sub(began).Round(time.Millisecond), "err", result.Err)
}

// refusedError is an answer of an agent that is no connection.
type refusedError struct {
	error
	status int
}

func (r *refusedError) Unwrap() error { return r.error }

// open asks an agent for a connection. named is what else is in the header of the request. The error is a reason.
func open(ctx context.Context, transport http.RoundTripper, grant store.Grant, t wire.Target, named http.Header) (io.ReadWriteCloser, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel() // it ends the request, and nothing that came of it
	request := &http.Request{
		Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: "agent", Path: wire.PathAgentConnect + t.Path()}, Host: "agent",
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {wire.Connect}},
	}
	maps.Copy(request.Header, named)
	setUser(request.Header, grant)
	response, err := transport.RoundTrip(request.WithContext(ctx))
	if err != nil {
		return nil, reason.Newf(reason.ClusterNotConnected, "the connection to the agent was lost: %v", err)
	}
	far, ok := response.Body.(io.ReadWriteCloser)
	if response.StatusCode == http.StatusSwitchingProtocols && wire.AsksConnect(response.Header) && ok {
		return far, nil
	}
	defer func() { _ = response.Body.Close() }()
	switch response.StatusCode {
	case http.StatusSwitchingProtocols:
		return nil, reason.Newf(reason.GatewayRefused, "the agent switched to a protocol that was not asked for")
	case http.StatusOK, http.StatusNotFound:
		err := refusal.Read(response)
		if reason.Is(err, reason.GatewayRefused) {
			err = reason.Newf(reason.GatewayRefused, "the agent of the cluster knows nothing of connections; it is older than the gateway")
		}
		return nil, &refusedError{err, http.StatusNotFound}
	case http.StatusForbidden, http.StatusBadRequest, http.StatusServiceUnavailable:
		return nil, &refusedError{refusal.Read(response), response.StatusCode}
	}
	return nil, &refusedError{refusal.Read(response), http.StatusBadGateway}
}
