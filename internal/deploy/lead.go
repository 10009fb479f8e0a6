package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Of the servers of a cluster one makes the documents true: the one of which the gateway has said that it leads. It goes on
// without the gateway, after a restart too. So one that leads and is cut off from its gateway may meet its successor: the term
// of the newest stands in a Lease of the cluster, and whoever sees a higher one than its own there stands back.

const (
	leadFile = "lead" // beside the documents; not .json, which those have
	maxLead  = 4 << 10
	// Lease is the name of the Lease in kube-system that holds the term. A cluster whose first machine still leads has none.
	Lease = "pipeops-agent-lead"
	// leader is the name under which the agent reads and writes it.
	leader = "agent-lead"
	// fenceEvery is for how long a term that was seen to be the newest counts as such.
	fenceEvery = 5 * time.Second
)

// leading is what is known of who leads.
type leading struct {
	wire.Lead
	told map[string]bool // the documents that were sent since a term began, until all of them were; else nil
	seen time.Time       // when the Lease was seen to hold no higher term
}

func (r *Reconciler) leadPath() string { return filepath.Join(r.store.dir, leadFile) }

// loadLead reads what was known of who leads before a restart. What is not known or cannot be read is asked of the gateway.
func (r *Reconciler) loadLead() leading {
	raw, err := atomicfile.Read(r.leadPath(), maxLead)
	l := leading{Lead: wire.Lead{Primary: !r.Follows}}
	if err == nil {
		var held wire.Lead
		if err = json.Unmarshal(raw, &held); err == nil {
			l.Lead = held
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.log.Error("it is not known who leads", "err", err)
	}
	return l
}

// lead returns what is known of who leads. The lock must be held.
func (r *Reconciler) lead() *leading {
	if r.leads == nil {
		l := r.loadLead()
		r.leads = &l
	}
	return r.leads
}

// Term returns the term whose documents are held, and whether this machine leads as far as it knows.
func (r *Reconciler) Term() (term int64, leads bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lead()
	return l.Term, l.Primary
}

// Lead takes what the gateway says of who leads.
func (r *Reconciler) Lead(said wire.Lead) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lead()
	switch {
	case said.Primary && !said.Complete: // what leads already goes on with what it has; else it waits until it has all
		l.told = map[string]bool{}
		return nil
	case said.Primary && l.told != nil:
		if err := r.forget(l.told); err != nil {
			return err
		}
	}
	changed := l.Primary != said.Primary
	next := leading{Lead: said}
	if l.Lead != said {
		raw, err := json.Marshal(said)
		if err == nil {
			err = r.store.makeDir()
		}
		if err == nil {
			err = atomicfile.Write(r.leadPath(), 0o600, raw)
		}
		if err != nil {
			return fmt.Errorf("cannot keep who leads: %w", err)
		}
	}
	r.leads = &next
	if !said.Primary && len(r.statuses) > 0 {
		r.statuses = map[string]wire.Status{}
	}
	if changed {
		r.log.Info("who makes the documents true has changed", "this_machine", said.Primary, "term", said.Term)
		r.tell()
	}
	r.wakeUp()
	return nil
}

// forget drops the documents that the gateway does not have any more. What came of them is not touched: another machine has
// removed it, or the gateway would still ask for that.
func (r *Reconciler) forget(told map[string]bool) error {
	documents, err := r.store.all()
	if err != nil {
		return err
	}
	for _, d := range documents {
		if key := d.Kind + "/" + d.Name; !told[key] {
			if err := r.store.drop(d.Document); err != nil {
				return err
			}
			delete(r.statuses, key)
		}
	}
	return nil
}

// may reports whether this machine is the one to make documents true. The error is one of the API server.
func (r *Reconciler) may(ctx context.Context) (bool, error) {
	r.mu.Lock()
	l := *r.lead()
	r.mu.Unlock()
	if !l.Primary {
		return false, nil
	}
	if r.now().Sub(l.seen) < fenceEvery {
		return true, nil
	}
	client, err := r.source.Client()
	if err != nil {
		return true, nil //nolint:nilerr // nothing can be applied either: each document says why
	}
	newest, err := fence(ctx, client, l.Term)
	if err != nil || !newest {
		return false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.lead(); now.Lead == l.Lead {
		now.seen = r.now()
	}
	return true, nil
}

// fence reports whether term is the newest, and writes it down if it is newer than what the cluster knows.
func fence(ctx context.Context, own *cluster.Client, term int64) (bool, error) {
	client, err := own.As(leader)
	if err != nil {
		return false, err
	}
	leases := client.Dynamic.Resource(schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}).Namespace("kube-system")
	held, err := leases.Get(ctx, Lease, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err): // an adopted cluster that gives administrators no such right has one machine
		return true, nil
	case apierrors.IsNotFound(err) && term <= 1:
		return true, nil
	case apierrors.IsNotFound(err):
		held = &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
			"metadata": map[string]any{"name": Lease, "namespace": "kube-system", "labels": map[string]any{"app.kubernetes.io/managed-by": wire.FieldManager}},
			"spec":     map[string]any{"leaseTransitions": term},
		}}
		_, err = leases.Create(ctx, held, metav1.CreateOptions{FieldManager: wire.FieldManager})
	case err == nil:
		newest, _, _ := unstructured.NestedInt64(held.Object, "spec", "leaseTransitions")
		if newest >= term {
			return newest == term, nil
		}
		if err = unstructured.SetNestedField(held.Object, term, "spec", "leaseTransitions"); err == nil {
			_, err = leases.Update(ctx, held, metav1.UpdateOptions{FieldManager: wire.FieldManager}) // of the version that was read
		}
	}
	if err != nil {
		return false, fmt.Errorf("cannot see who leads: %w", err)
	}
	return true, nil
}
