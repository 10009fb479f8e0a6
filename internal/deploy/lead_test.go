package deploy

import (
	"log/slog"
	"os"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// deployed reports whether the project is in the cluster.
func deployed(t *testing.T, client *cluster.Client) bool {
	t.Helper()
	_, err := client.Dynamic.Resource(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}).Namespace(Namespace("web")).
		Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return err == nil
}

func onePass(t *testing.T, r *Reconciler) {
	t.Helper()
	if _, err := r.pass(t.Context(), map[string]application{}); err != nil {
		t.Fatal(err)
	}
}

func say(t *testing.T, r *Reconciler, l wire.Lead) {
	t.Helper()
	if err := r.Lead(l); err != nil {
		t.Fatal(err)
	}
}

// TestAMachineThatJoinedFollows: it makes nothing true until it was told that it leads and has all documents, and remembers
// both over a restart.
func TestAMachineThatJoinedFollows(t *testing.T) {
	r, client := newTestOn(t, time.Now().Add(-time.Hour))
	r.Follows = true
	if term, leads := r.Term(); term != 0 || leads {
		t.Errorf("term %d, leads %t", term, leads)
	}
	accept(t, r, "web", 1)
	onePass(t, r)
	if list, _ := r.Statuses(); deployed(t, client) || len(list) != 0 || r.Unread() != nil {
		t.Errorf("it makes documents true: %+v", list)
	}
	say(t, r, wire.Lead{Term: 2, Primary: true})
	accept(t, r, "web", 1)
	onePass(t, r)
	if deployed(t, client) {
		t.Error("it makes documents true before it has all of them")
	}
	say(t, r, wire.Lead{Term: 2, Primary: true, Complete: true})
	again := New(r.store.dir, r.source, slog.New(slog.DiscardHandler))
	again.Follows = true
	onePass(t, again)
	if list, _ := again.Statuses(); !deployed(t, client) || len(list) != 1 {
		t.Errorf("it does not make documents true: %+v", list)
	}
	say(t, again, wire.Lead{Term: 3})
	if list, _ := again.Statuses(); len(list) != 0 {
		t.Errorf("it reports on what is another one's: %+v", list)
	}
	if term, leads := New(r.store.dir, r.source, r.log).Term(); term != 3 || leads {
		t.Errorf("it forgets that it does not lead: term %d, %t", term, leads)
	}
}

// TestWhatWasDeletedMeanwhileIsForgotten: a machine that leads again has an old document; the gateway has none of that name.
func TestWhatWasDeletedMeanwhileIsForgotten(t *testing.T) {
	r, client := newTestOn(t, time.Now().Add(-time.Hour))
	accept(t, r, "web", 1)
	say(t, r, wire.Lead{Term: 2})
	say(t, r, wire.Lead{Term: 3, Primary: true})
	say(t, r, wire.Lead{Term: 3, Primary: true, Complete: true})
	onePass(t, r)
	if g, err := r.Generation(); deployed(t, client) || g != 0 || err != nil {
		t.Errorf("it is made again; generation %d, %v", g, err)
	}
	// in the same term nothing is forgotten: it is not sent again
	accept(t, r, "web", 7)
	say(t, r, wire.Lead{Term: 3, Primary: true, Complete: true})
	if g, err := r.Generation(); g != 7 || err != nil {
		t.Errorf("generation %d, %v", g, err)
	}
}

// TestWhoIsCutOffStandsBack: two machines believe that they lead, since one does not hear its gateway. The cluster knows better.
func TestWhoIsCutOffStandsBack(t *testing.T) {
	old, client := newTestOn(t, time.Now().Add(-time.Hour))
	now := time.Now()
	old.now = func() time.Time { return now }
	accept(t, old, "web", 1)
	onePass(t, old)
	leases := client.Dynamic.Resource(schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}).Namespace("kube-system")
	if _, err := leases.Get(t.Context(), Lease, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the first machine of a cluster makes a Lease: %v", err)
	}
	next := New(t.TempDir(), old.source, old.log)
	next.Follows = true
	for term := int64(2); term <= 3; term++ {
		say(t, next, wire.Lead{Term: term, Primary: true})
		accept(t, next, "web", 5)
		say(t, next, wire.Lead{Term: term, Primary: true, Complete: true})
		onePass(t, next)
		held, err := leases.Get(t.Context(), Lease, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got, _, _ := unstructured.NestedInt64(held.Object, "spec", "leaseTransitions"); got != term {
			t.Errorf("the Lease holds the term %d, want %d", got, term)
		}
	}
	now = now.Add(fenceEvery)
	if may, err := old.may(t.Context()); may || err != nil {
		t.Errorf("the one before goes on: %t, %v", may, err)
	}
	if may, err := next.may(t.Context()); !may || err != nil {
		t.Errorf("the newest stands back: %t, %v", may, err)
	}
}

// TestALeadFileThatIsDamaged leaves it to the gateway.
func TestALeadFileThatIsDamaged(t *testing.T) {
	r, _ := newTest(t)
	say(t, r, wire.Lead{Term: 4, Primary: true, Complete: true})
	if err := os.WriteFile(r.leadPath(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := New(r.store.dir, r.source, r.log)
	if term, leads := again.Term(); term != 0 || !leads {
		t.Errorf("term %d, leads %t", term, leads)
	}
}
