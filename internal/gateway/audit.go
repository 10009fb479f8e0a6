package gateway

import (
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/audit"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/metric"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/version"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// The ways in which a gateway keeps its audit log.
const (
	AuditOn       = "on"       // the default: what cannot be recorded is done all the same, and told
	AuditRequired = "required" // what cannot be recorded is not done
	AuditOff      = "off"
)

const (
	// auditFiles and auditFileSize bound the audit log of a gateway: 512 MiB, about a million requests.
	auditFiles    = 32
	auditFileSize = 16 << 20
	// strangersEvery is how often it is recorded that somebody asks without a token that is known. One record for each would let anybody
	// fill the log, and so remove what is in it.
	strangersEvery = time.Minute
)

// AuditDir is where a gateway with the given data folder keeps its audit log.
func AuditDir(data string) string { return filepath.Join(data, "audit") }

// openAudit opens the audit log; nil if none is wanted.
func openAudit(o Options) (*audit.Log, error) {
	switch o.Audit {
	case AuditOff:
		return nil, nil
	case "", AuditOn, AuditRequired:
	default:
		return nil, reason.Newf(reason.Usage, "audit %q: want %s, %s or %s", o.Audit, AuditOn, AuditRequired, AuditOff)
	}
	return audit.Keep(audit.Options{
		Dir: AuditDir(o.Data), End: "gateway", Version: version.String(), Required: o.Audit == AuditRequired,
		FileSize: auditFileSize, Files: auditFiles, Changed: tellAudit(o.Log, o.Audit),
	}), nil
}

func tellAudit(log *slog.Logger, mode string) func(error) {
	return func(err error) {
		if err != nil {
			log.Error("the audit log cannot be kept", "required", mode == AuditRequired, "err", err)
			return
		}
		log.Info("the audit log is kept again")
	}
}

// audited records the requests of users that next answers. target says what a request is about, in the words of Kubernetes.
func (g *Gateway) audited(prefix, kind string, target func(*http.Request, string) audit.Event, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		cluster, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), prefix+"/"), "/")
		g.recorded(w, r, cluster, kind, target(r, "/"+rest), next)
	}
}

// recorded answers a request of a user to a cluster by next, and records and counts it.
func (g *Gateway) recorded(w http.ResponseWriter, r *http.Request, cluster, kind string, e audit.Event, next http.HandlerFunc) {
	trace, ok := wire.TraceOf(r.Header)
	if !ok {
		trace = wire.NewTrace()
	}
	trace.Set(r.Header) // the one that goes on
	e.ID, e.Trace, e.Cluster = wire.NewRequestID(), trace.ID(), cluster
	e.Remote, e.Agent, e.Method = r.RemoteAddr, r.UserAgent(), r.Method
	end := g.requests.Begin()
	g.audit.ServeSeen(w, r, e, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		audit.Of(r.Context()).Drop() // until it is known who asks
		next(w, r)
	}), func(e audit.Event, result audit.Result) {
		what := kind
		if kind == metric.KindKube {
			what = metric.KindOf(r, e.Verb, e.Subresource)
		}
		end(what, result.Status, result.Reason, result.In, result.Out)
	})
	hurry(w)
}

// knows notes who asks, as far as that is known. Who is nobody is counted, not recorded.
func (g *Gateway) knows(r *http.Request, grant store.Grant, err error) {
	entry := audit.Of(r.Context())
	if err != nil && grant.User == "" {
		if reason.Is(err, reason.UserRefused) {
			g.strangers.saw(g, r)
		}
		return
	}
	entry.Change(func(e *audit.Event) { whose(e, grant) })
	entry.Keep()
}

func whose(e *audit.Event, grant store.Grant) {
	e.User, e.Groups, e.Role = wire.UserPrefix+grant.User, grant.Groups, "user"
	if slices.Contains(grant.Groups, wire.GroupAdmins) {
		e.Role = "admin"
	}
}

// admitted records that a request is about to go to an agent, where that is due, and names it to the agent. The error is
// AUDIT_UNAVAILABLE.
func (g *Gateway) admitted(r *http.Request, p *peer, header http.Header) error {
	entry := audit.Of(r.Context())
	entry.Change(func(e *audit.Event) { e.Machine = p.machine })
	if err := entry.Admit(r.Context()); err != nil {
		return reason.New(reason.AuditUnavailable, err.Error(), nil)
	}
	if id := entry.Event().ID; id != "" {
		header.Set(wire.HeaderRequest, id)
	}
	return nil
}

// strangers counts requests of those who have no token that is known.
type strangers struct {
	mu    sync.Mutex
	since uint64 // not recorded yet
	last  time.Time
}

func (s *strangers) saw(g *Gateway, r *http.Request) {
	now := g.Now()
	s.mu.Lock()
	s.since++
	n := s.since
	due := now.Sub(s.last) >= strangersEvery
	if due {
		s.since, s.last = 0, now
	}
	s.mu.Unlock()
	if due {
		g.audit.Note("requests without a user token that is known; the last of them is this", n,
			audit.Event{Remote: r.RemoteAddr, Agent: r.UserAgent(), Method: r.Method, Path: r.URL.EscapedPath()})
	}
}

// auditAdmin records what administrators change on the gateway's own machine.
func (g *Gateway) auditAdmin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && !strings.Contains(r.URL.Path, "/page/") {
			next.ServeHTTP(w, r)
			return
		}
		e := audit.Event{ID: wire.NewRequestID(), Trace: wire.NewTrace().ID(), User: "administrator", Role: "admin", Remote: "admin.sock", Method: r.Method, Verb: "administer", Path: r.URL.EscapedPath()}
		g.audit.Serve(w, r, e, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := audit.Of(r.Context()).Admit(r.Context()); err != nil {
				g.fail(w, r, reason.New(reason.AuditUnavailable, err.Error(), nil))
				return
			}
			next.ServeHTTP(w, r)
		}))
	})
}

// own records a request of the gateway itself to a cluster, for an administrator, and names it to the agent.
func (g *Gateway) own(r *http.Request, c store.Cluster, p *peer) (*audit.Entry, error) {
	e := audit.OfKube(r, strings.TrimPrefix(r.URL.EscapedPath(), wire.PathAgentKube))
	e.ID, e.Cluster, e.Machine, e.Method, e.Remote = wire.NewRequestID(), c.Name, p.machine, r.Method, "admin.sock"
	whose(&e, administrator())
	entry := g.audit.Entry(e)
	r.Header.Set(wire.HeaderRequest, e.ID)
	if err := entry.Admit(r.Context()); err != nil {
		return entry, reason.New(reason.AuditUnavailable, err.Error(), nil)
	}
	return entry, nil
}

// agentOf names a machine in an anchor.
func agentOf(p *peer) string { return p.name + "/" + p.machine }
