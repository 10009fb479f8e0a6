package agent

import (
	"context"
	"encoding/json"
	"reflect"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/audit"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/tunnel"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	heartbeatEvery = 15 * time.Second // paced
	// settle is the least time between two reports that changes cause, so that a flapping condition floods nobody.
	settle = 500 * time.Millisecond
	// retryCall is the pause after a call that failed while the session lives on.
	retryCall = 2 * time.Second
)

// link does what a live session is for: heartbeats, documents down, statuses up. It returns when ctx ends.
func (a *agent) link(ctx context.Context, gateway *tunnel.Client) {
	var work sync.WaitGroup
	work.Go(func() { a.heartbeats(ctx, gateway) })
	work.Go(func() { a.roundTrips(ctx, gateway) })
	if a.Identity.Role() == wire.RoleServer {
		work.Go(func() { a.documents(ctx, gateway) })
		work.Go(func() { a.statuses(ctx, gateway) })
	}
	work.Wait()
}

// standby does what a session is for on which the agent does not work: the gateway at its other end sends requests there, too, and is to
// know whether the Kubernetes API would answer them.
func (a *agent) standby(ctx context.Context, gateway *tunnel.Client) { a.beats(ctx, gateway, nil) }

// heartbeats reports health now, at every change, and at every interval. The facts go with the first.
func (a *agent) heartbeats(ctx context.Context, gateway *tunnel.Client) {
	facts, err := json.Marshal(host.Collect(ctx, a.Host))
	if err != nil {
		a.Log.Error("facts cannot be sent", "err", err)
	}
	a.beats(ctx, gateway, facts)
}

func (a *agent) beats(ctx context.Context, gateway *tunnel.Client, facts json.RawMessage) {
	for {
		conditions, changed := a.health.Conditions()
		beat := a.cluster.heartbeat()
		beat.Version, beat.Agent, beat.Time = wire.Version, a.Version, time.Now().UTC()
		beat.Conditions, beat.Facts, beat.Distro = conditions, facts, a.Distro
		if joined := a.Identity.Node(); joined != "" {
			beat.Node = joined
		}
		wait := gateway.Paced(heartbeatEvery)
		if head := wire.AuditHead(a.audit.Head()); head.Seq > 0 {
			beat.Audit = &head
		}
		if said, err := gateway.Beat(ctx, beat); err == nil {
			facts = nil
			if said.Audit != nil {
				a.anchors.Saw(a.audit, "gateway", audit.Head(*said.Audit), time.Now())
			}
		} else {
			a.Log.Debug("heartbeat failed", "err", err)
			wait = retryCall
		}
		if pause(ctx, settle, nil) != nil || pause(ctx, wait, changed) != nil {
			return
		}
	}
}

// documents follows the desired state from what is kept on disk.
func (a *agent) documents(ctx context.Context, gateway *tunnel.Client) {
	for {
		after, err := a.projects.Generation()
		if err == nil {
			term, _ := a.projects.Term()
			err = gateway.Follow(ctx, after, term, a.accept, a.projects.Lead)
		}
		if ctx.Err() != nil {
			return
		}
		a.Log.Warn("documents interrupted", "err", err)
		if pause(ctx, retryCall, nil) != nil {
			return
		}
	}
}

// accept takes a document. One that is refused holds up no other.
func (a *agent) accept(document wire.Document) error {
	if err := a.projects.Accept(document); err != nil {
		a.Log.Error("document refused", "kind", document.Kind, "name", document.Name, "err", err)
	}
	return nil
}

// statuses sends the status of every document when the session starts, later those that changed.
func (a *agent) statuses(ctx context.Context, gateway *tunnel.Client) {
	sent := map[string]wire.Status{}
	for {
		list, changed := a.projects.Statuses()
		wait := time.Hour // nothing to do until something changes
		if _, leads := a.projects.Term(); !leads {
			clear(sent) // what is said by another one meanwhile is to be said again
		}
		for _, status := range list {
			key := status.Kind + "/" + status.Name
			if reflect.DeepEqual(sent[key], status) {
				continue
			}
			if err := gateway.Status(ctx, status); err != nil {
				a.Log.Debug("status failed", "name", status.Name, "err", err)
				wait = retryCall
				continue
			}
			sent[key] = status
		}
		if pause(ctx, wait, changed) != nil {
			return
		}
	}
}

// pause waits for a while, or until early is closed; nil never is. It returns the error of ctx if that ends first.
func pause(ctx context.Context, d time.Duration, early <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-early:
	case <-timer.C:
	}
	return nil
}
