package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// How often the reconciler looks: quickly while something is on its way, else slowly to mend what others changed.
const (
	busyEvery  = 300 * time.Millisecond
	idleEvery  = 20 * time.Second
	retryFirst = 500 * time.Millisecond
	retryMost  = 10 * time.Second
)

// Reconciler makes documents true. It is level-triggered: what counts is the newest generation of each document,
// however often and in whatever order they arrive.
type Reconciler struct {
	source *cluster.Source
	store  store
	log    *slog.Logger
	now    func() time.Time
	wake   chan struct{}

	mu       sync.Mutex
	statuses map[string]wire.Status // by kind/name
	changed  chan struct{}          // closed and replaced at every change of statuses
}

// New returns a reconciler that keeps its documents in dir and reaches the cluster by source.
func New(dir string, source *cluster.Source, log *slog.Logger) *Reconciler {
	return &Reconciler{
		source: source, store: store{dir}, log: log, now: time.Now, wake: make(chan struct{}, 1),
		statuses: map[string]wire.Status{}, changed: make(chan struct{}),
	}
}

// Accept takes a document from the gateway. It is kept on disk before Accept returns.
func (r *Reconciler) Accept(document wire.Document) error {
	if document.Kind != "Project" || !wire.ValidName(document.Name) {
		return fmt.Errorf("cannot accept the document %q %q: unknown kind or bad name", document.Kind, document.Name)
	}
	newer, err := r.store.newer(document)
	if err != nil || !newer {
		return err
	}
	r.log.Info("document accepted", "kind", document.Kind, "name", document.Name, "generation", document.Generation)
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return nil
}

// Generation returns the highest generation that is kept, from which the gateway goes on.
func (r *Reconciler) Generation() (int64, error) {
	documents, err := r.store.all()
	if err != nil || len(documents) == 0 {
		return 0, err
	}
	return documents[len(documents)-1].Generation, nil
}

// Statuses returns the state of every document and a channel that is closed when one of them changes.
func (r *Reconciler) Statuses() ([]wire.Status, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]wire.Status, 0, len(r.statuses))
	for _, status := range r.statuses {
		list = append(list, status)
	}
	return list, r.changed
}

// Run reconciles until ctx ends.
func (r *Reconciler) Run(ctx context.Context) error {
	applied := map[string]int64{} // generation that was applied, by kind/name
	retry := retryFirst
	for {
		settled, err := r.pass(ctx, applied)
		wait := idleEvery
		switch {
		case err != nil:
			wait, retry = retry, min(2*retry, retryMost)
		case !settled:
			wait, retry = busyEvery, retryFirst
		default:
			clear(applied) // the next slow pass applies everything again
			retry = retryFirst
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-r.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// pass brings every document one step further. settled means that nothing is left to wait for.
func (r *Reconciler) pass(ctx context.Context, applied map[string]int64) (settled bool, err error) {
	documents, err := r.store.all()
	if err != nil {
		r.log.Error("documents unreadable", "err", err)
		return false, err
	}
	settled = true
	var failed error
	for _, document := range documents {
		conditions, stable, err := r.document(ctx, document, applied)
		if err != nil {
			failed = errors.Join(failed, err)
			r.log.Debug("document waits", "kind", document.Kind, "name", document.Name, "err", err)
		}
		settled = settled && stable
		r.set(document, conditions)
	}
	return settled, failed
}

func (r *Reconciler) document(ctx context.Context, document wire.Document, applied map[string]int64) (conditions []wire.Condition, stable bool, err error) {
	client, err := r.source.Client()
	if err != nil {
		return []wire.Condition{notApplied("ClusterUnreachable", err)}, false, err
	}
	if document.Deleted {
		return r.removed(ctx, client, document)
	}
	project, err := parse(document)
	if err != nil { // stable: only a newer generation can mend it
		return []wire.Condition{notApplied("Invalid", err)}, true, nil
	}
	key := document.Kind + "/" + document.Name
	if applied[key] != document.Generation {
		up, err := client.NetworkUp(ctx)
		if err != nil {
			return []wire.Condition{notApplied("ClusterUnreachable", err)}, false, err
		}
		if !up { // pods that come before it lose many seconds
			return []wire.Condition{notApplied("NetworkNotReady", errors.New("the cluster is young: its pod network is not there yet"))}, false, nil
		}
		if err := apply(ctx, client, project); err != nil {
			return []wire.Condition{notApplied("ApplyFailed", err)}, false, err
		}
		applied[key] = document.Generation
	}
	done := wire.Condition{Type: "Applied", Status: "True", Reason: "Applied"}
	serving, err := available(ctx, client, project.Name)
	if err != nil {
		return []wire.Condition{done}, false, err
	}
	return []wire.Condition{done, serving}, serving.Status == "True", nil
}

func parse(document wire.Document) (wire.Project, error) {
	var project wire.Project
	if err := json.Unmarshal(document.Spec, &project); err != nil {
		return project, fmt.Errorf("cannot read the project: %w", err)
	}
	if project.Name != document.Name {
		return project, fmt.Errorf("the project of document %s has the name %s", document.Name, project.Name)
	}
	return project, project.Validate()
}

func (r *Reconciler) removed(ctx context.Context, client *cluster.Client, document wire.Document) ([]wire.Condition, bool, error) {
	gone, err := remove(ctx, client, document.Name)
	if err != nil {
		return []wire.Condition{notApplied("RemoveFailed", err)}, false, err
	}
	condition := wire.Condition{Type: "Removed", Status: "False", Reason: "Terminating"}
	if gone {
		condition.Status, condition.Reason = "True", "Removed"
	}
	return []wire.Condition{condition}, gone, nil
}

func notApplied(code string, err error) wire.Condition {
	return wire.Condition{Type: "Applied", Status: "False", Reason: code, Message: err.Error()}
}

// set keeps the conditions of a document; those whose status is unchanged keep the time of their last change.
func (r *Reconciler) set(document wire.Document, conditions []wire.Condition) {
	key := document.Kind + "/" + document.Name
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.statuses[key]
	same := old.ObservedGeneration == document.Generation && len(old.Conditions) == len(conditions)
	for i := range conditions {
		c := &conditions[i]
		c.Since = r.now().UTC()
		for _, before := range old.Conditions {
			if before.Type == c.Type && before.Status == c.Status {
				c.Since = before.Since
			}
		}
		same = same && i < len(old.Conditions) && old.Conditions[i] == *c
	}
	if same {
		return
	}
	r.statuses[key] = wire.Status{Kind: document.Kind, Name: document.Name, ObservedGeneration: document.Generation, Conditions: conditions}
	close(r.changed)
	r.changed = make(chan struct{})
}
