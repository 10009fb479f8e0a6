package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/metric"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// goodbyeTimeout bounds how long an agent may take to hear why its session ends.
	goodbyeTimeout = 5 * time.Second
	// revokeTimeout is that of one whose identity was revoked: within 5 s nothing of it may be left.
	revokeTimeout = 2 * time.Second
	// renewTime is how long a session with an expired certificate may last: one request is all that it is for.
	renewTime = time.Minute
)

// carrier is a connection on which the session of an agent may run, whatever its transport.
type carrier struct {
	net.Conn
	leaf *x509.Certificate // of the machine; the handshake has verified it
	way  string            // how it came, as metrics name it
}

// carrierOf is the connection of an agent that speaks yamux on TLS itself.
func carrierOf(conn *tls.Conn) carrier {
	return carrier{Conn: conn, leaf: conn.ConnectionState().PeerCertificates[0], way: metric.WayTLS}
}

// tunnel runs the session of an agent until it ends.
func (g *Gateway) tunnel(ctx context.Context, conn carrier) {
	if !g.work.enter() {
		return
	}
	defer g.work.leave()
	leaf := conn.leaf
	began := conn.spoke(ctx)
	if began == nil {
		return // it has chosen another way, or is gone
	}
	if wire.BeginsSecond(began.first) {
		g.second(ctx, conn, began)
		return
	}
	log := g.Log.With("cluster_id", clusterOf(leaf), "remote", conn.RemoteAddr().String())
	if err := session.Tune(began); err != nil {
		log.Debug("connection not tuned", "err", err)
	}
	// from here on pings are answered: when thousands come at once, all that follows may take a while
	p := &peer{
		id: clusterOf(leaf), agent: leaf.URIs[0].String(), second: newSecond(),
		remote: conn.RemoteAddr().String(), since: g.Now(), by: conn.way, session: session.Server(began, log),
	}
	now := time.Now()
	wait := g.admission.place(p.agent, g.AdmitRate, now)
	if !g.admission.soon(wait) {
		g.refuse(ctx, p, reason.Newf(reason.GatewayBusy, "come again in %s", wait.Round(time.Millisecond)), wait)
		return
	}
	if g.fleet.isDraining() {
		g.refuse(ctx, p, stopped(), 0)
		return
	}
	cluster, machine, err := g.admit(ctx, leaf)
	var refused *reason.Error
	if err != nil && !errors.As(err, &refused) {
		log.Error("cannot admit the agent", "err", err)
		p.session.Close(err) // it will come again
		return
	}
	key := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	p.key, p.name, p.machine, p.role, p.turn = key[:], cluster.Name, machine.ID, machine.Role, now.Add(wait)
	if refused != nil {
		g.metrics.Add(metric.GatewayPrefix+metric.AgentsRefused, 1, string(refused.Code))
		log.Warn("agent refused", "cluster", cluster.Name, "code", refused.Code, "evidence", refused.Evidence)
		g.refuse(ctx, p, refused, 0)
		return
	}
	late := time.AfterFunc(helloTime, func() {
		if g.work.enter() {
			defer g.work.leave()
			_ = g.enter(ctx, p, wire.Hello{}) // it is dismissed if it may not
		}
	})
	defer late.Stop()
	p.session.OnLarge(func() { p.tell(ctx, wire.PathAgentSecond, struct{}{}, goodbyeTimeout) })
	err = p.session.Serve(ctx, g.agentAPI(p))
	p.entering.Do(func() { p.refused = errGone })
	p.retire()
	g.sessions.remove(p)
	g.fleet.drop(ctx, p)
	g.leads.look(p.id)
	g.metrics.Add(metric.GatewayPrefix+metric.SessionsEnded, 1, code(err))
	log.Info("agent disconnected", "cluster", p.name, "machine", p.machine, "after", g.Now().Sub(p.since).Round(time.Millisecond), "code", code(err), "evidence", err)
}

// admit decides on an agent. The error is IDENTITY_REVOKED, CERTIFICATE_EXPIRED or one of the database. With
// CERTIFICATE_EXPIRED, cluster and machine are those of the certificate.
func (g *Gateway) admit(ctx context.Context, leaf *x509.Certificate) (store.Cluster, store.Machine, error) {
	key := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	cluster, machine, err := g.known(ctx, clusterOf(leaf), key[:])
	named := machineOf(leaf)
	switch {
	case err != nil:
		return cluster, machine, err
	case named != machine.Named() && named != machine.ID:
		return cluster, machine, reason.Newf(reason.IdentityRevoked, "the key is that of another machine of %s", cluster.Name)
	case g.Now().After(leaf.NotAfter):
		return cluster, machine, reason.Newf(reason.CertificateExpired, "at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return cluster, machine, nil
}

// known finds the machine of a cluster by its key. The error is IDENTITY_REVOKED or one of the database.
func (g *Gateway) known(ctx context.Context, clusterID string, key []byte) (store.Cluster, store.Machine, error) {
	cluster, err := g.store.ClusterByID(ctx, clusterID)
	if reason.Is(err, reason.ClusterUnknown) {
		return cluster, store.Machine{}, reason.Newf(reason.IdentityRevoked, "the gateway has no cluster %s", clusterID)
	}
	if err != nil {
		return cluster, store.Machine{}, err
	}
	machine, err := g.store.MachineByKey(ctx, clusterID, key)
	switch {
	case reason.Is(err, reason.MachineUnknown):
		err = reason.Newf(reason.IdentityRevoked, "%s has no machine with this key: it was removed, or another machine has enrolled in its place", cluster.Name)
	case err == nil && cluster.Revoked:
		err = reason.Newf(reason.IdentityRevoked, "%s was revoked", cluster.Name)
	}
	return cluster, machine, err
}

// refuse tells an agent why it may not come in, and, if after is not 0, when to come again. One whose certificate has expired may renew it, and nothing else.
func (g *Gateway) refuse(ctx context.Context, p *peer, why *reason.Error, after time.Duration) {
	handler := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.fail(w, r, why) }))
	limit := goodbyeTimeout
	if why.Code == reason.CertificateExpired {
		limit = renewTime
		mux := http.NewServeMux()
		mux.HandleFunc("POST "+wire.PathRenew, func(w http.ResponseWriter, r *http.Request) { g.renew(w, r, p) })
		mux.Handle("/", handler)
		handler = mux
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var word sync.WaitGroup
	word.Go(func() {
		p.goodbye(ctx, wire.Goodbye{Error: said(why), AfterMS: after.Milliseconds()})
		if why.Code != reason.CertificateExpired {
			p.session.Close(why)
		}
	})
	_ = p.session.Serve(ctx, handler)
	word.Wait()
}

// dismiss tells an agent why its session ends, and ends it; it does not wait.
func (g *Gateway) dismiss(ctx context.Context, p *peer, why *reason.Error) {
	ctx = context.WithoutCancel(ctx)
	g.work.run(func() {
		limit := goodbyeTimeout
		if why.Code == reason.IdentityRevoked {
			limit = revokeTimeout
		}
		p.tell(ctx, wire.PathAgentGoodbye, wire.Goodbye{Error: said(why)}, limit)
		p.session.Close(why)
	})
}

func said(why *reason.Error) wire.Error {
	return wire.Error{Code: string(why.Code), Message: why.Evidence}
}

// replace ends the session of a machine that has a newer one, newer says whose, once. Where who holds the older one still answers, two hold the same identity.
func (g *Gateway) replace(ctx context.Context, old *peer, newer string) {
	ctx = context.WithoutCancel(ctx)
	old.retire()
	old.replacing.Do(func() {
		g.work.run(func() {
			why := reason.Newf(reason.SessionReplaced, "by a connection %s", newer)
			alive := old.tell(ctx, wire.PathAgentGoodbye, wire.Goodbye{Error: said(why)}, goodbyeTimeout)
			old.session.Close(why)
			if alive {
				g.cloned(ctx, old, "a process at "+old.remote+" was connected when another one was, by a connection "+newer+"; the newer one is kept")
			}
		})
	})
}

// goodbye tells the agent why; that it cannot be told is no reason to keep the session.
func (p *peer) goodbye(ctx context.Context, bye wire.Goodbye) {
	p.tell(ctx, wire.PathAgentGoodbye, bye, goodbyeTimeout)
}

// tell posts a document to the agent that needs no answer, and reports whether it has come.
func (p *peer) tell(ctx context.Context, path string, body any, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	raw, err := json.Marshal(body)
	if err != nil {
		return false
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent"+path, bytes.NewReader(raw))
	if err != nil {
		return false
	}
	response, err := p.transport().RoundTrip(r)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return true
}
