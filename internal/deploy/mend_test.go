package deploy

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic/fake"
	k8stesting "k8s.io/client-go/testing"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// accept takes a project of a name.
func accept(t *testing.T, r *Reconciler, name string, generation int64) {
	t.Helper()
	d := document(t, generation, func(p *wire.Project) { p.Name = name })
	d.Name = name
	if err := r.Accept(d); err != nil {
		t.Fatal(err)
	}
}

// requests counts what was asked of the stand-in.
func requests(client *cluster.Client) int {
	return len(client.Dynamic.(*fake.FakeDynamicClient).Actions())
}

// TestABrokenProjectHoldsUpNoMending: the other projects are kept as they should be while one never comes up.
func TestABrokenProjectHoldsUpNoMending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, client := newTest(t)
		run(t, r)
		accept(t, r, "broken", 1) // nobody plays its controllers
		accept(t, r, "web", 2)
		time.Sleep(busyEvery)
		synctest.Wait()
		playController(t, client, 1)
		if err := resource(client, "Service", Namespace("web")).Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * idleEvery)
		synctest.Wait()
		if _, err := resource(client, "Service", Namespace("web")).Get(t.Context(), "web", metav1.GetOptions{}); err != nil {
			t.Errorf("what somebody deleted is not made again: %v", err)
		}
	})
}

// TestAProjectThatNeverComesIsAskedForSeldom: the API server is left to its work.
func TestAProjectThatNeverComesIsAskedForSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, client := newTest(t)
		run(t, r)
		accept(t, r, "web", 1)
		time.Sleep(time.Hour)
		synctest.Wait()
		before := requests(client)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := requests(client) - before; n > 80 {
			t.Errorf("%d requests in a minute for a project that has been broken for an hour", n)
		}
		playController(t, client, 1)
		began := time.Now()
		await(t, r, 1, "Applied=True:Applied", "Available=True:Available")
		if took := time.Since(began); took > busySeldom {
			t.Errorf("noticed after %v", took)
		}
	})
}

// TestThePodNetworkIsAskedForOnceAPass: not once for each project.
func TestThePodNetworkIsAskedForOnceAPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, client := newTest(t)
		for i := range 5 {
			accept(t, r, fmt.Sprintf("web-%d", i), int64(i+1))
		}
		if _, err := r.pass(t.Context(), map[string]application{}); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, action := range client.Dynamic.(*fake.FakeDynamicClient).Actions() {
			if action.Matches("list", "nodes") {
				n++
			}
		}
		if n != 1 {
			t.Errorf("the nodes are listed %d times", n)
		}
	})
}

// TestWhatCannotBeReadIsNotCalledAvailable: a project whose Deployment cannot be read is not as it should be.
func TestWhatCannotBeReadIsNotCalledAvailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, client := newTest(t)
		client.Dynamic.(*fake.FakeDynamicClient).PrependReactor("get", "deployments", func(k8stesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewServiceUnavailable("later")
		})
		run(t, r)
		accept(t, r, "web", 1)
		await(t, r, 1, "Applied=True:Applied", "Available=Unknown:Unreadable")
	})
}

// TestStatusesHaveAnOrder: two readers see the same list.
func TestStatusesHaveAnOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newTest(t)
		for i, name := range []string{"e", "b", "d", "a", "c", "g", "f"} {
			accept(t, r, name, int64(i+1))
		}
		if _, err := r.pass(t.Context(), map[string]application{}); err != nil {
			t.Fatal(err)
		}
		statuses, _ := r.Statuses()
		names := ""
		for _, s := range statuses {
			names += s.Name
		}
		if names != "abcdefg" {
			t.Errorf("the order is %s", names)
		}
	})
}

// TestADamagedDocumentHoldsUpNoOther: the others are made true, and the gateway is asked for all of them again, which mends it.
func TestADamagedDocumentHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newTest(t)
		accept(t, r, "web", 7)
		damaged := filepath.Join(r.store.dir, "Project-lost.json")
		if err := os.WriteFile(damaged, []byte(`{"kind":"Proj`), 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, r)
		synctest.Wait()
		statuses, _ := r.Statuses()
		if len(statuses) != 2 || statuses[0].Name != "lost" || statuses[0].Conditions[0].Reason != "Damaged" || statuses[1].Conditions[0].Status != "True" {
			t.Errorf("statuses %+v", statuses)
		}
		if generation, err := r.Generation(); err != nil || generation != 0 {
			t.Errorf("documents are asked for after generation %d, %v", generation, err)
		}
		accept(t, r, "lost", 5)
		var held wire.Document
		if content, err := os.ReadFile(damaged); err != nil || json.Unmarshal(content, &held) != nil || held.Generation != 5 {
			t.Errorf("the document is not mended: %+v, %v", held, err)
		}
		synctest.Wait()
		if statuses, _ := r.Statuses(); len(statuses) != 2 || statuses[0].Conditions[0].Status != "True" {
			t.Errorf("statuses after it was mended %+v", statuses)
		}
		if generation, err := r.Generation(); err != nil || generation != 7 {
			t.Errorf("generation %d, %v", generation, err)
		}
	})
}

// TestDocumentsThatCannotBeListedAreTold: no statuses do not mean that nothing is asked for.
func TestDocumentsThatCannotBeListedAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newTest(t)
		if r.Unread() == nil {
			t.Error("known before anybody has looked")
		}
		if err := os.WriteFile(r.store.dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, changed := r.Statuses() // before anybody looks: it is told once
		run(t, r)
		<-changed
		if err := r.Unread(); err == nil || !strings.Contains(err.Error(), "cannot list") {
			t.Errorf("unread: %v", err)
		}
		if err := os.Remove(r.store.dir); err != nil {
			t.Fatal(err)
		}
		_, changed = r.Statuses()
		<-changed
		if err := r.Unread(); err != nil {
			t.Errorf("unread after it was mended: %v", err)
		}
	})
}
