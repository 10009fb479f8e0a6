package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/policy"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// How often the reconciler looks: quickly while something is on its way, else slowly to mend what others changed.
const (
	busyEvery = 300 * time.Millisecond
	idleEvery = 20 * time.Second
	// What is not there after busySoon is asked for less often: it may never come, and the API server has other work.
	busySoon   = time.Minute
	busySeldom = 3 * time.Second
	retryFirst = 500 * time.Millisecond
	retryMost  = 10 * time.Second
)

// Reconciler makes documents true. It is level-triggered: what counts is the newest generation of each document,
// however often and in whatever order they arrive.
type Reconciler struct {
	// Follows says that another machine makes documents true for as long as nobody says otherwise: this one joined a cluster
	// that was there. It is set before anything else is called.
	Follows bool
	// Allow returns why the owner of the machine does not want something done with a project; nil allows everything.
	Allow func(policy.Request) error

	source *cluster.Source
	store  store
	log    *slog.Logger
	now    func() time.Time
	wake   chan struct{}

	mu       sync.Mutex
	statuses map[string]wire.Status // by kind/name
	unread   error                  // why the documents are not known; nil if they are
	changed  chan struct{}          // closed and replaced at every change of statuses, unread and who leads
	leads    *leading               // nil until it was asked for
}

// New returns a reconciler that keeps its documents in dir and reaches the cluster by source.
func New(dir string, source *cluster.Source, log *slog.Logger) *Reconciler {
	return &Reconciler{
		source: source, store: store{dir}, log: log, now: time.Now, wake: make(chan struct{}, 1),
		statuses: map[string]wire.Status{}, unread: errors.New("nobody has looked yet"), changed: make(chan struct{}),
	}
}

// Accept takes a document from the gateway. It is kept on disk before Accept returns.
func (r *Reconciler) Accept(document wire.Document) error {
	if document.Kind != "Project" || !wire.ValidName(document.Name) {
		return fmt.Errorf("cannot accept the document %q %q: unknown kind or bad name", document.Kind, document.Name)
	}
	newer, err := r.store.newer(document)
	if err != nil {
		return err
	}
	r.mu.Lock()
	if l := r.lead(); l.told != nil {
		l.told[document.Kind+"/"+document.Name] = true
	}
	r.mu.Unlock()
	if newer {
		r.log.Info("document accepted", "kind", document.Kind, "name", document.Name, "generation", document.Generation)
		r.wakeUp()
	}
	return nil
}

// wakeUp lets the next pass begin now.
func (r *Reconciler) wakeUp() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Generation returns the highest generation that is kept, from which the gateway goes on. It is 0 while a document is damaged:
// the gateway then sends all of them again.
func (r *Reconciler) Generation() (int64, error) {
	documents, err := r.store.all()
	if err != nil || len(documents) == 0 || documents[0].damaged != nil {
		return 0, err
	}
	return documents[len(documents)-1].Generation, nil
}

// Statuses returns the state of every document, by kind and name, and a channel that is closed when one of them changes.
func (r *Reconciler) Statuses() ([]wire.Status, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]wire.Status, 0, len(r.statuses))
	for _, key := range slices.Sorted(maps.Keys(r.statuses)) {
		list = append(list, r.statuses[key])
	}
	return list, r.changed
}

// Unread returns why the documents are not known, so that the statuses are not those of all; nil if they are. A change of it is
// told by the channel of Statuses.
func (r *Reconciler) Unread() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unread
}

func (r *Reconciler) setUnread(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if (err == nil) != (r.unread == nil) || err != nil && err.Error() != r.unread.Error() {
		r.unread = err
		r.tell()
	}
}

// tell must be called with the lock held.
func (r *Reconciler) tell() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// application is what was applied of a document, and when.
type application struct {
	generation int64
	at         time.Time
}

// Run reconciles until ctx ends.
func (r *Reconciler) Run(ctx context.Context) error {
	applied := map[string]application{} // by kind/name
	retry, busy := retryFirst, r.now()  // busy: since when something is on its way
	for {
		settled, err := r.pass(ctx, applied)
		wait := idleEvery
		switch {
		case err != nil:
			wait, retry = retry, min(2*retry, retryMost)
		case !settled:
			wait, retry = busyEvery, retryFirst
			if r.now().Sub(busy) > busySoon {
				wait = busySeldom
			}
		default:
			retry, busy = retryFirst, r.now().Add(idleEvery)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-r.wake:
			timer.Stop()
			busy = r.now()
		case <-timer.C:
		}
	}
}

// pass brings every document one step further. settled means that nothing is left to wait for.
func (r *Reconciler) pass(ctx context.Context, applied map[string]application) (settled bool, err error) {
	may, err := r.may(ctx)
	if err != nil {
		r.log.Debug("documents wait", "err", err)
		return false, err
	}
	if !may {
		clear(applied) // others may change what was applied
		r.setUnread(nil)
		return true, nil
	}
	documents, err := r.store.all()
	if err != nil {
		r.log.Error("documents unreadable", "err", err)
		r.setUnread(err)
		return false, err
	}
	settled = true
	var failed error
	up := networkOnce(ctx)
	for _, document := range documents {
		if document.damaged != nil {
			r.set(document.Document, []wire.Condition{notApplied("Damaged", document.damaged)})
			continue
		}
		conditions, stable, err := r.document(ctx, document.Document, applied, up)
		if err != nil {
			failed = errors.Join(failed, err)
			r.log.Debug("document waits", "kind", document.Kind, "name", document.Name, "err", err)
		}
		settled = settled && stable
		r.set(document.Document, conditions)
	}
	r.setUnread(nil)
	return settled, failed
}

func (r *Reconciler) document(ctx context.Context, document wire.Document, applied map[string]application,
	networkUp func(*cluster.Client) (bool, error)) (conditions []wire.Condition, stable bool, err error) {
	client, err := r.source.Client()
	if err != nil {
		return []wire.Condition{notApplied("ClusterUnreachable", err)}, false, err
	}
	if err := r.allowed(document); err != nil {
		code := reason.PolicyForbids
		if reason.Is(err, reason.PolicyInvalid) {
			code = reason.PolicyInvalid
		}
		return []wire.Condition{notApplied(string(code), err)}, true, nil
	}
	if document.Deleted {
		return r.removed(ctx, client, document)
	}
	project, err := parse(document)
	if err != nil { // stable: only a newer generation can mend it
		return []wire.Condition{notApplied("Invalid", err)}, true, nil
	}
	key := document.Kind + "/" + document.Name
	if last := applied[key]; last.generation != document.Generation || r.now().Sub(last.at) >= idleEvery {
		up, err := networkUp(client)
		if err != nil {
			return []wire.Condition{notApplied("ClusterUnreachable", err)}, false, err
		}
		if !up { // pods that come before it lose many seconds
			return []wire.Condition{notApplied("NetworkNotReady", errors.New("the cluster is young: its pod network is not there yet"))}, false, nil
		}
		if err := apply(ctx, client, project); err != nil {
			return []wire.Condition{notApplied("ApplyFailed", err)}, false, err
		}
		applied[key] = application{document.Generation, r.now()}
	}
	done := wire.Condition{Type: "Applied", Status: "True", Reason: "Applied"}
	serving, err := available(ctx, client, project.Name)
	if err != nil {
		if apierrors.IsNotFound(err) { // somebody deleted it: the next pass makes it again
			delete(applied, key)
		}
		return []wire.Condition{done, {Type: "Available", Status: "Unknown", Reason: "Unreadable", Message: err.Error()}}, false, err
	}
	return []wire.Condition{done, serving}, serving.Status == "True", nil
}

// allowed returns why the owner of the machine does not want a document made true. It is asked again with every pass.
func (r *Reconciler) allowed(document wire.Document) error {
	if r.Allow == nil {
		return nil
	}
	verb := "patch"
	if document.Deleted {
		verb = "delete"
	}
	return r.Allow(wanted(verb, document.Name, ""))
}

// networkOnce asks whether the pod network is up when it is called first, since that lists the nodes.
func networkOnce(ctx context.Context) func(*cluster.Client) (bool, error) {
	asked := false
	var up bool
	var err error
	return func(client *cluster.Client) (bool, error) {
		if !asked {
			asked = true
			up, err = client.NetworkUp(ctx)
		}
		return up, err
	}
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
	r.tell()
}
