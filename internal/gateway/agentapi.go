package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/audit"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// lifeSign is how long the stream of documents is silent before the gateway gives a sign of life, and maxLifeSign how long it is with
	// thousands of agents; they give it up after tunnel.DesiredSilence, a minute.
	lifeSign    = 20 * time.Second
	maxLifeSign = 50 * time.Second
	// recheckAfter is how long a stream on which nothing changes goes without a look into the store: should a change ever be told to nobody, it comes
	// that much later.
	recheckAfter = 5 * time.Minute
	// batch is how many documents are read from the store at a time.
	batch = 100
	// maxEventBody bounds one report of an install's progress.
	maxEventBody = 4 << 20
)

// agentAPI is what the gateway answers to an agent on its session. Which cluster asks is known from the certificate of
// the session; nothing in a request can change it.
func (g *Gateway) agentAPI(p *peer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+wire.PathHello, func(w http.ResponseWriter, r *http.Request) { g.hello(w, r, p) })
	mux.HandleFunc("POST "+wire.PathHandover, func(w http.ResponseWriter, r *http.Request) { g.handover(w, r, p) })
	mux.HandleFunc("POST "+wire.PathHeartbeat, func(w http.ResponseWriter, r *http.Request) { g.heartbeat(w, r, p) })
	mux.HandleFunc("GET "+wire.PathDesired, func(w http.ResponseWriter, r *http.Request) { g.desired(w, r, p) })
	mux.HandleFunc("POST "+wire.PathStatus, func(w http.ResponseWriter, r *http.Request) { g.status(w, r, p) })
	mux.HandleFunc("POST "+wire.PathRoundTrip, func(w http.ResponseWriter, r *http.Request) { g.roundTrip(w, r, p) })
	mux.HandleFunc("POST "+wire.PathRenew, func(w http.ResponseWriter, r *http.Request) { g.renew(w, r, p) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != wire.PathHello {
			if err := g.enter(r.Context(), p, wire.Hello{}); err != nil {
				g.fail(w, r, err)
				return
			}
		}
		mux.ServeHTTP(w, r)
	})
}

func (g *Gateway) heartbeat(w http.ResponseWriter, r *http.Request, p *peer) {
	var h wire.Heartbeat
	err := read(r, &h)
	if err == nil && h.Version > wire.Version {
		err = reason.Newf(reason.GatewayRefused, "the agent's documents are of version %d, this gateway knows %d: update the gateway", h.Version, wire.Version)
	}
	if err == nil {
		if p.heard(h.Conditions) {
			g.leads.look(p.id)
		}
		if !p.isStandby() { // what it says on the other session is kept
			err = g.store.Heartbeat(r.Context(), p.id, p.machine, g.speaks(p), h)
		}
	}
	if err != nil {
		g.fail(w, r, err)
		return
	}
	if h.Audit != nil {
		g.anchors.Saw(g.audit, agentOf(p), audit.Head(*h.Audit), g.Now())
	}
	head := wire.AuditHead(g.audit.Head())
	if head.Seq == 0 {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	answer(w, wire.HeartbeatAnswer{Audit: &head})
}

// speaks reports whether what a machine says of its cluster counts. With one gateway it is the machine that requests go to; with several
// that differs between them, and it is the one that leads.
func (g *Gateway) speaks(p *peer) bool {
	if g.store.Shared() {
		return g.leads.of(p).Primary
	}
	return g.sessions.get(p.id) == p
}

// desired streams the documents of a cluster above a generation to the machine that leads it, and goes on as they change.
// A document that changes twice before it is read is sent once: what counts is the newest state. The others get signs of
// life, until they lead. A machine that says which term its documents are of (?term=) is told when it begins and ceases to
// lead; if it has not led without a break, it gets all documents, and is told when it has them.
func (g *Gateway) desired(w http.ResponseWriter, r *http.Request, p *peer) {
	query := r.URL.Query()
	after, err := number(query, "after")
	term, termErr := number(query, "term")
	if err = errors.Join(err, termErr); err != nil {
		g.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	d := following{gateway: g, peer: p, lines: json.NewEncoder(w), after: after, held: term, aware: query.Has("term")}
	for {
		changed := g.changes.wait(p.id)
		if err := d.send(r.Context()); err != nil {
			if r.Context().Err() == nil {
				g.Log.Debug("documents interrupted", "cluster", p.name, "machine", p.machine, "err", err)
			}
			return
		}
		if !g.rest(w, r, changed) {
			return
		}
	}
}

// rest gives signs of life until something has changed, or it is time to look again, and reports whether anybody is still there to be told. They
// ask nothing of the store: there are hundreds a second.
func (g *Gateway) rest(w http.ResponseWriter, r *http.Request, changed <-chan struct{}) bool {
	stream := http.NewResponseController(w)
	again := time.NewTimer(recheckAfter)
	defer again.Stop()
	for stream.Flush() == nil {
		sign := time.NewTimer(lifeSignOf(g.sessions.count()))
		select {
		case <-changed:
			sign.Stop()
			return true
		case <-again.C:
			sign.Stop()
			return true
		case <-r.Context().Done():
			sign.Stop()
			return false
		case <-sign.C:
			if _, err := w.Write([]byte("\n")); err != nil {
				return false
			}
		}
	}
	return false
}

// lifeSignOf is lifeSign at a gateway of so many agents.
func lifeSignOf(agents int) time.Duration {
	return min(session.Pace(lifeSign, session.KeepAliveOf(agents)), maxLifeSign)
}

// following is one stream of documents to one machine.
type following struct {
	gateway *Gateway
	peer    *peer
	lines   *json.Encoder
	aware   bool // the machine knows that there may be others
	told    bool // it was told whether it leads, as follows
	lead    wire.Lead
	after   int64 // the highest generation that it has
	held    int64 // the term in which it got them
}

// send brings the machine up to date.
func (f *following) send(ctx context.Context) error {
	now := f.gateway.leads.of(f.peer)
	if !f.told || now.Term != f.lead.Term || now.Primary != f.lead.Primary {
		f.told, f.lead = true, now
		if f.aware && now.Primary && f.held != now.Term {
			f.after = 0 // what it has may be old, or gone
		}
		f.lead.Complete = now.Primary && (f.held == now.Term || !f.aware)
		if err := f.tell(); err != nil {
			return err
		}
	}
	if !f.lead.Primary {
		return nil
	}
	for {
		documents, err := f.gateway.store.DocumentsAfter(ctx, f.peer.id, f.after, batch)
		if err != nil {
			return err
		}
		for _, d := range documents {
			if err := f.lines.Encode(d.Document); err != nil {
				return err
			}
			f.after = d.Generation
		}
		if len(documents) < batch {
			break
		}
	}
	if f.lead.Complete {
		return nil
	}
	f.lead.Complete, f.held = true, f.lead.Term
	return f.tell()
}

func (f *following) tell() error {
	if !f.aware {
		return nil
	}
	return f.lines.Encode(wire.LeadLine{Lead: &f.lead})
}

// number reads a number of a query, 0 if it is not there.
func number(query url.Values, name string) (int64, error) {
	text := query.Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, reason.Newf(reason.Usage, "%s=%.20q is no number", name, text)
	}
	return n, nil
}

func (g *Gateway) status(w http.ResponseWriter, r *http.Request, p *peer) {
	var st wire.Status
	err := read(r, &st)
	if err == nil && g.leads.of(p).Primary { // what another one thinks of a document is of no interest
		err = g.store.SetStatus(r.Context(), p.id, st)
	}
	if err != nil {
		g.fail(w, r, err)
		return
	}
	g.changes.ring(statusBell(p.id))
	w.WriteHeader(http.StatusNoContent)
}

// statusBell is the bell of those who wait for reports, not for documents.
func statusBell(id string) string { return "status/" + id }

// events takes the progress of an install over HTTPS, before there is a tunnel; the client certificate says whose.
func (g *Gateway) events(w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		g.fail(w, r, reason.Newf(reason.IdentityMissing, "a client certificate is needed"))
		return
	}
	cluster, machine, err := g.admit(r.Context(), r.TLS.PeerCertificates[0])
	if err != nil {
		g.fail(w, r, err)
		return
	}
	lines := bufio.NewScanner(http.MaxBytesReader(w, r.Body, maxEventBody))
	lines.Buffer(nil, wire.MaxDocument)
	var list []wire.Event
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var e wire.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			g.fail(w, r, reason.New(reason.Usage, "a line is no event", err))
			return
		}
		list = append(list, e)
	}
	err = lines.Err()
	if err != nil {
		err = reason.New(reason.Usage, "the events cannot be read", err)
	} else {
		err = g.store.AddEvents(r.Context(), cluster.ID, machine.Named(), list)
	}
	if err != nil {
		g.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
