package agent

import (
	"net/http"
	"path/filepath"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/audit"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/metric"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// The ways in which an agent keeps its audit log.
const (
	AuditOn       = "on"       // the default: what cannot be recorded is done all the same, and told by the condition Audit
	AuditRequired = "required" // what cannot be recorded is not done
	AuditOff      = "off"
)

// AuditDir is where an agent with the given state folder keeps its audit log.
func AuditDir(state string) string { return filepath.Join(state, "audit") }

// openAudit opens the audit log, now or as soon as it can be; nil if none is wanted. An agent whose disk is full is still to be reached.
func openAudit(o Options, conditions *health.Tracker) *audit.Log {
	if o.Audit == AuditOff {
		conditions.Set(health.Audit, health.True, "Off", "no audit log is wanted")
		return nil
	}
	required := o.Audit == AuditRequired
	conditions.Set(health.Audit, health.True, "Kept", AuditDir(o.StateDir))
	return audit.Keep(audit.Options{
		Dir: AuditDir(o.StateDir), End: "agent of " + o.Identity.Cluster(), Version: o.Version, Required: required,
		Changed: func(err error) {
			if err == nil {
				conditions.Set(health.Audit, health.True, "Kept", AuditDir(o.StateDir))
				return
			}
			message := err.Error()
			if required {
				message += "; all requests are refused until it can be kept"
			}
			conditions.Set(health.Audit, health.False, string(reason.AuditUnavailable), message)
		},
	})
}

// audited records what the gateway asks of this agent. What is in its headers is the gateway's word; who asks is what it says.
func (a *agent) audited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		trace, ok := wire.TraceOf(r.Header)
		if !ok {
			trace = wire.NewTrace()
			trace.Set(r.Header)
		}
		e := asked(r)
		e.Cluster, e.Machine, e.Trace, e.Method, e.Agent = a.Identity.Cluster(), a.Identity.Machine(), trace.ID(), r.Method, r.UserAgent()
		if e.ID = r.Header.Get(wire.HeaderRequest); !wire.ValidRequestID(e.ID) {
			e.ID = wire.NewRequestID()
			r.Header.Set(wire.HeaderRequest, e.ID)
		}
		e.User, e.Groups = r.Header.Get(wire.HeaderUser), r.Header[wire.HeaderGroup]
		end := a.requests.Begin()
		a.audit.ServeSeen(w, r, e, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := audit.Of(r.Context()).Admit(r.Context()); err != nil {
				err = reason.New(reason.AuditUnavailable, err.Error(), nil)
				if strings.HasPrefix(r.URL.Path, wire.PathAgentKube+"/") {
					refusal.WriteStatus(w, http.StatusServiceUnavailable, "ServiceUnavailable", err.Error())
				} else {
					refusal.Write(w, http.StatusServiceUnavailable, err)
				}
				return
			}
			next.ServeHTTP(w, r)
		}), func(e audit.Event, result audit.Result) {
			end(kindOf(r, e), result.Status, result.Reason, result.In, result.Out)
		})
	})
}

func kindOf(r *http.Request, e audit.Event) string {
	switch {
	case strings.HasPrefix(r.URL.Path, wire.PathAgentKube+"/"):
		return metric.KindOf(r, e.Verb, e.Subresource)
	case strings.HasPrefix(r.URL.Path, wire.PathAgentProject+"/"):
		return metric.KindPage
	case strings.HasPrefix(r.URL.Path, wire.PathAgentConnect+"/"):
		return metric.KindConnect
	}
	return metric.KindAdmin
}

// asked is what a request is about, in the words of Kubernetes.
func asked(r *http.Request) audit.Event {
	escaped := r.URL.EscapedPath()
	if rest, ok := strings.CutPrefix(escaped, wire.PathAgentKube); ok {
		return audit.OfKube(r, rest)
	}
	if rest, ok := strings.CutPrefix(escaped, wire.PathAgentProject); ok {
		return audit.OfPage(r, rest)
	}
	if rest, ok := strings.CutPrefix(escaped, wire.PathAgentConnect); ok {
		return audit.OfConnect(r, rest)
	}
	if r.URL.Path == wire.PathAgentJoin {
		return audit.Event{Verb: "create", Resource: "nodes", Path: escaped}
	}
	return audit.Event{Verb: strings.ToLower(r.Method), Path: escaped}
}
