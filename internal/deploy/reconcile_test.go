package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/cluster/clustertest"
	"github.com/pipeopshq/pipeops-agent/internal/policy"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// newTest returns a reconciler on a stand-in for the API server. It runs no controllers: a test plays them.
func newTest(t *testing.T) (*Reconciler, *cluster.Client) {
	t.Helper()
	return newTestOn(t, time.Time{})
}

// newTestOn is newTest with a node that came at a time.
func newTestOn(t *testing.T, came time.Time) (*Reconciler, *cluster.Client) {
	t.Helper()
	node := &unstructured.Unstructured{}
	node.SetAPIVersion("v1")
	node.SetKind("Node")
	node.SetName("one")
	node.SetCreationTimestamp(metav1.NewTime(came))
	client := clustertest.New(node)
	dir := filepath.Join(t.TempDir(), "desired")
	return New(dir, &cluster.Source{Fixed: client}, slog.New(slog.DiscardHandler)), client
}

func document(t *testing.T, generation int64, edit func(*wire.Project)) wire.Document {
	t.Helper()
	project := wire.Project{Name: "web", Image: "web:1", Port: 8080}
	edit(&project)
	spec, err := json.Marshal(project)
	if err != nil {
		t.Fatal(err)
	}
	return wire.Document{Kind: "Project", Name: "web", Generation: generation, Spec: spec}
}

func run(t *testing.T, r *Reconciler) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returns %v", err)
		}
	})
}

// await waits until the status of the one document says want, as "type=status:reason" of each condition.
func await(t *testing.T, r *Reconciler, generation int64, want ...string) {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		statuses, changed := r.Statuses()
		var got []string
		if len(statuses) == 1 && statuses[0].ObservedGeneration == generation {
			for _, c := range statuses[0].Conditions {
				got = append(got, c.Type+"="+c.Status+":"+c.Reason)
			}
			if cmp.Equal(got, want) {
				return
			}
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("status stays %v %v, want %v of generation %d", statuses, got, want, generation)
		}
	}
}

// playController sets the status of the deployment as the controllers of a real cluster would.
func playController(t *testing.T, client *cluster.Client, replicas int64) {
	t.Helper()
	api := resource(client, "Deployment", Namespace("web"))
	deployment, err := api.Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	deployment.Object["status"] = map[string]any{"replicas": replicas, "updatedReplicas": replicas,
		"availableReplicas": replicas, "observedGeneration": deployment.GetGeneration()}
	if _, err := api.Update(t.Context(), deployment, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestOwnerForbidsAProject: what the policy of the machine forbids is not applied, and is once it allows it.
func TestOwnerForbidsAProject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, client := newTest(t)
		var allowed, broken atomic.Bool
		r.Allow = func(q policy.Request) error {
			if q.String() != "patch projects.pipeops.io web in "+Namespace("web") {
				t.Errorf("asked for %s", q)
			}
			if allowed.Load() {
				return nil
			}
			if broken.Load() {
				return reason.Newf(reason.PolicyInvalid, "policy.yaml")
			}
			return errors.New("read_only")
		}
		run(t, r)
		if err := r.Accept(document(t, 3, func(*wire.Project) {})); err != nil {
			t.Fatal(err)
		}
		await(t, r, 3, "Applied=False:POLICY_FORBIDS")
		if _, err := resource(client, "Deployment", Namespace("web")).Get(t.Context(), "web", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("it is there: %v", err)
		}
		broken.Store(true)
		await(t, r, 3, "Applied=False:POLICY_INVALID")
		allowed.Store(true)
		await(t, r, 3, "Applied=True:Applied", "Available=False:Progressing")
	})
}

// TestOwnerForbidsARemoval: who allows projects to be made has not allowed that they be removed.
func TestOwnerForbidsARemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, client := newTest(t)
		r.Allow = func(q policy.Request) error {
			if q.Verb == "delete" {
				return errors.New("deny[0]")
			}
			return nil
		}
		run(t, r)
		if err := r.Accept(document(t, 3, func(*wire.Project) {})); err != nil {
			t.Fatal(err)
		}
		await(t, r, 3, "Applied=True:Applied", "Available=False:Progressing")
		if err := r.Accept(wire.Document{Kind: "Project", Name: "web", Generation: 4, Deleted: true}); err != nil {
			t.Fatal(err)
		}
		await(t, r, 4, "Applied=False:POLICY_FORBIDS")
		if _, err := resource(client, "Deployment", Namespace("web")).Get(t.Context(), "web", metav1.GetOptions{}); err != nil {
			t.Errorf("it is gone: %v", err)
		}
	})
}

func TestProjectFromDocumentToRemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, client := newTest(t)
		run(t, r)
		if err := r.Accept(document(t, 3, func(*wire.Project) {})); err != nil {
			t.Fatal(err)
		}
		await(t, r, 3, "Applied=True:Applied", "Available=False:Progressing")
		playController(t, client, 1)
		await(t, r, 3, "Applied=True:Applied", "Available=True:Available")

		// an older or equal generation changes nothing
		if err := r.Accept(document(t, 2, func(p *wire.Project) { p.Image = "old:1" })); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		await(t, r, 3, "Applied=True:Applied", "Available=True:Available")

		// somebody deletes the Deployment: the next slow pass makes it again
		if err := resource(client, "Deployment", Namespace("web")).Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		await(t, r, 3, "Applied=True:Applied", "Available=False:Progressing")

		gone := document(t, 4, func(*wire.Project) {})
		gone.Deleted, gone.Spec = true, nil
		if err := r.Accept(gone); err != nil {
			t.Fatal(err)
		}
		await(t, r, 4, "Removed=True:Removed")
		if generation, err := r.Generation(); err != nil || generation != 4 {
			t.Errorf("generation %d, %v", generation, err)
		}
	})
}

// TestProjectWaitsForThePodNetwork: pods that come before flannel would lose many seconds.
func TestProjectWaitsForThePodNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, client := newTestOn(t, time.Now())
		run(t, r)
		if err := r.Accept(document(t, 1, func(*wire.Project) {})); err != nil {
			t.Fatal(err)
		}
		await(t, r, 1, "Applied=False:NetworkNotReady")
		nodes := client.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "nodes"})
		node, err := nodes.Get(t.Context(), "one", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		node.SetAnnotations(map[string]string{"flannel.alpha.coreos.com/backend-type": "vxlan"})
		if _, err := nodes.Update(t.Context(), node, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		await(t, r, 1, "Applied=True:Applied", "Available=False:Progressing")
		if took := time.Since(began); took > busyEvery {
			t.Errorf("noticed after %v", took)
		}
	})
}

func TestForeignNamespaceIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, client := newTest(t)
		foreign := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": Namespace("web")}}}
		if _, err := resource(client, "Namespace", "").Create(t.Context(), foreign, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		run(t, r)
		if err := r.Accept(document(t, 1, func(*wire.Project) {})); err != nil {
			t.Fatal(err)
		}
		await(t, r, 1, "Applied=False:ApplyFailed")
		gone := wire.Document{Kind: "Project", Name: "web", Generation: 2, Deleted: true}
		if err := r.Accept(gone); err != nil {
			t.Fatal(err)
		}
		await(t, r, 2, "Applied=False:RemoveFailed")
		if _, err := resource(client, "Namespace", "").Get(t.Context(), Namespace("web"), metav1.GetOptions{}); err != nil {
			t.Errorf("the foreign namespace is gone: %v", err)
		}
	})
}

func TestBadDocuments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newTest(t)
		run(t, r)
		for _, d := range []wire.Document{
			{Kind: "Secret", Name: "web", Generation: 1},
			{Kind: "Project", Name: "../../etc/passwd", Generation: 1},
		} {
			if err := r.Accept(d); err == nil {
				t.Errorf("%s %s is accepted", d.Kind, d.Name)
			}
		}
		if err := r.Accept(document(t, 1, func(p *wire.Project) { p.Port = 0 })); err != nil {
			t.Fatal(err)
		}
		await(t, r, 1, "Applied=False:Invalid")
		if err := r.Accept(document(t, 2, func(p *wire.Project) { p.Name = "other" })); err != nil {
			t.Fatal(err)
		}
		await(t, r, 2, "Applied=False:Invalid")
		if err := r.Accept(document(t, 3, func(*wire.Project) {})); err != nil { // a newer one mends it
			t.Fatal(err)
		}
		await(t, r, 3, "Applied=True:Applied", "Available=False:Progressing")
	})
}

func TestDocumentsSurviveARestart(t *testing.T) {
	r, _ := newTest(t)
	if err := r.Accept(document(t, 7, func(*wire.Project) {})); err != nil {
		t.Fatal(err)
	}
	again := New(r.store.dir, r.source, r.log)
	if generation, err := again.Generation(); err != nil || generation != 7 {
		t.Errorf("generation %d, %v", generation, err)
	}
	entries, err := os.ReadDir(r.store.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", entry.Name(), info.Mode(), err)
		}
	}
}
