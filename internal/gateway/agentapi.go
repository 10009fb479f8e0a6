package gateway

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// lifeSign is the longest silence on the stream of documents; agents give it up after a minute.
	lifeSign = 20 * time.Second
	// batch is how many documents are read from the store at a time.
	batch = 100
	// maxEventBody bounds one report of an install's progress.
	maxEventBody = 4 << 20
)

// agentAPI is what the gateway answers to an agent on its session. Which cluster asks is known from the certificate of
// the session; nothing in a request can change it.
func (g *Gateway) agentAPI(p *peer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+wire.PathHeartbeat, func(w http.ResponseWriter, r *http.Request) { g.heartbeat(w, r, p) })
	mux.HandleFunc("GET "+wire.PathDesired, func(w http.ResponseWriter, r *http.Request) { g.desired(w, r, p) })
	mux.HandleFunc("POST "+wire.PathStatus, func(w http.ResponseWriter, r *http.Request) { g.status(w, r, p) })
	mux.HandleFunc("POST "+wire.PathRenew, func(w http.ResponseWriter, r *http.Request) { g.renew(w, r, p) })
	return mux
}

func (g *Gateway) heartbeat(w http.ResponseWriter, r *http.Request, p *peer) {
	var h wire.Heartbeat
	err := read(r, &h)
	if err == nil && h.Version > wire.Version {
		err = reason.Newf(reason.GatewayRefused, "the agent's documents are of version %d, this gateway knows %d: update the gateway", h.Version, wire.Version)
	}
	if err == nil {
		err = g.store.Heartbeat(r.Context(), p.id, h)
	}
	if err != nil {
		g.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// desired streams the documents of a cluster above a generation, and goes on as they change. A document that changes
// twice before it is read is sent once: what counts is the newest state.
func (g *Gateway) desired(w http.ResponseWriter, r *http.Request, p *peer) {
	after := int64(0)
	if text := r.URL.Query().Get("after"); text != "" {
		var err error
		if after, err = strconv.ParseInt(text, 10, 64); err != nil {
			g.fail(w, r, reason.Newf(reason.Usage, "after=%.20q is not a generation", text))
			return
		}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	stream := http.NewResponseController(w)
	lines := json.NewEncoder(w)
	sign := time.NewTicker(lifeSign)
	defer sign.Stop()
	for {
		changed := g.changes.wait(p.id)
		documents, err := g.store.DocumentsAfter(r.Context(), p.id, after, batch)
		if err != nil {
			g.Log.Error("cannot read documents", "cluster", p.name, "err", err)
			return
		}
		for _, d := range documents {
			if lines.Encode(d.Document) != nil {
				return
			}
			after = d.Generation
		}
		if len(documents) == batch {
			continue
		}
		if stream.Flush() != nil {
			return
		}
		select {
		case <-changed:
		case <-sign.C:
			if _, err := w.Write([]byte("\n")); err != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

func (g *Gateway) status(w http.ResponseWriter, r *http.Request, p *peer) {
	var st wire.Status
	err := read(r, &st)
	if err == nil {
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
	cluster, err := g.admit(r.Context(), r.TLS.PeerCertificates[0])
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
		err = g.store.AddEvents(r.Context(), cluster.ID, list)
	}
	if err != nil {
		g.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
