package agent

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/cluster/clustertest"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// layersBench is a prover with a cluster in which no pod ever runs.
type layersBench struct {
	t       *testing.T
	prover  *prover
	tracker *health.Tracker
	client  *cluster.Client
	stop    func()
}

func newLayersBench(t *testing.T, adopted bool, kept ...wire.Condition) *layersBench {
	t.Helper()
	n := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": "n"},
		"status": map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True"}},
			"images": []any{map[string]any{"names": []any{"busybox:1"}}}}}}
	b := &layersBench{t: t, tracker: &health.Tracker{}, client: clustertest.New(n)}
	path := filepath.Join(t.TempDir(), health.RecordFile)
	var r health.Record
	for _, c := range kept {
		r = r.With(c)
	}
	if err := r.Save(path); err != nil {
		t.Fatal(err)
	}
	b.prover = newProver(&cluster.Source{Fixed: b.client}, b.tracker, path, cluster.Probe{Name: cluster.AgentProbe, Adopted: adopted}, slog.New(slog.DiscardHandler))
	return b
}

func (b *layersBench) start() {
	ctx, cancel := context.WithCancel(b.t.Context())
	ended := make(chan error)
	go func() { ended <- b.prover.run(ctx) }()
	b.stop = func() { cancel(); <-ended }
}

// checked returns when the pods were tried last, after d since the start.
func (b *layersBench) checked() time.Time { return b.tracker.Get(health.PodsRun).Checked }

// proved are the conditions as an install leaves them.
func proved(status string, when time.Time) []wire.Condition {
	var all []wire.Condition
	for _, l := range cluster.Layers(cluster.Probe{}) {
		if l.Probe {
			all = append(all, wire.Condition{Type: l.Condition, Status: status, Reason: "Proved", Checked: when})
		}
	}
	return all
}

func TestLayersAreTakenOverAndProvedRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		installed := time.Now()
		b := newLayersBench(t, false, proved(health.True, installed)...)
		time.Sleep(time.Second)
		b.start()
		defer b.stop()
		synctest.Wait()
		if c := b.tracker.Get(health.Storage); c.Status != health.True || !c.Checked.Equal(installed) {
			t.Errorf("the record is not taken over: %+v", c)
		}
		time.Sleep(13 * time.Hour)
		if !b.checked().Equal(installed) {
			t.Error("a cluster that is not reachable was tried")
		}
	})
}

func TestLayersAreProvedWhenTheClusterComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLayersBench(t, false, proved(health.True, time.Now())...)
		time.Sleep(time.Minute)
		b.tracker.Set(health.ClusterReachable, health.True, "Reachable", "")
		b.start()
		defer b.stop()
		time.Sleep(proveCame - time.Second) // seen after 5 s
		if b.tracker.Get(health.PodsRun).Status != health.True {
			t.Error("tried at once")
		}
		time.Sleep(2 * time.Minute) // a pod that does not run takes a minute
		c := b.tracker.Get(health.PodsRun)
		if c.Status != health.False || c.Reason != "LAYER_POD" {
			t.Errorf("got %+v", c)
		}
		if c := b.tracker.Get(health.LargePacket); c.Status != health.Unknown || c.Reason != cluster.NotProved {
			t.Errorf("what stands on the pod: %+v", c)
		}
		if r, err := health.LoadRecord(b.prover.path); err != nil {
			t.Error(err)
		} else if kept, _ := r.Get(health.PodsRun); kept.Status != health.False {
			t.Errorf("kept: %+v", kept)
		}
		pods := b.client.Dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Namespace("kube-system")
		if list, err := pods.List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) > 0 {
			t.Errorf("left: %v, %v", list, err)
		}

		// what has failed is tried again, ever more rarely
		var pauses []time.Duration
		for last := c.Checked; len(pauses) < 7; {
			time.Sleep(10 * time.Second)
			if now := b.checked(); now.After(last) {
				pauses = append(pauses, now.Sub(last).Round(time.Minute))
				last = now
			}
		}
		want := []time.Duration{6, 11, 21, 41, 81, 121, 121} // with the minute of the pod
		for i := range want {
			if pauses[i] != want[i]*time.Minute {
				t.Fatalf("pauses %v, want %v minutes", pauses, want)
			}
		}
	})
}

func TestLayersAreProvedWhenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLayersBench(t, false)
		b.start()
		defer b.stop()
		began := time.Now()
		if err := b.prover.now(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c := b.tracker.Get(health.PodsRun); c.Status != health.False || !strings.Contains(c.Message, "the pod is") {
			t.Errorf("after %v: %+v", time.Since(began), c)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.prover.now(ctx); err == nil {
			t.Error("a question outlives the one who asks")
		}
	})
}

func TestAnInstallProvesForTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLayersBench(t, false)
		b.tracker.Set(health.ClusterReachable, health.True, "Reachable", "")
		b.start()
		defer b.stop()
		time.Sleep(5 * time.Minute)
		if !b.checked().IsZero() {
			t.Error("the agent proves while an install does")
		}
		var r health.Record
		for _, c := range proved(health.True, time.Now()) {
			r = r.With(c)
		}
		if err := r.Save(b.prover.path); err != nil {
			t.Fatal(err)
		}
		b.prover.load() // as for the local socket
		if !b.prover.well() {
			t.Errorf("got %+v", b.tracker.Get(health.Storage))
		}
		if time.Sleep(time.Hour); b.tracker.Get(health.PodsRun).Status != health.True {
			t.Error("what an install proved is proved again at once")
		}
	})
}

func TestNothingIsMadeInAnAdoptedCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLayersBench(t, true)
		b.tracker.Set(health.ClusterReachable, health.True, "Reachable", "")
		b.start()
		defer b.stop()
		if err := b.prover.now(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(48 * time.Hour)
		if c := b.tracker.Get(health.Storage); c.Status != health.Unknown || c.Reason != cluster.Adopted {
			t.Errorf("got %+v", c)
		}
		if c := b.tracker.Get(health.PodsRun); !c.Checked.IsZero() {
			t.Errorf("a pod was made: %+v", c)
		}
	})
}

// TestLayersAreProvedAfterTheClockWasAhead: a record from a time that is still to come does not keep the layers unproved.
func TestLayersAreProvedAfterTheClockWasAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ahead := time.Now().Add(3 * 365 * 24 * time.Hour)
		b := newLayersBench(t, false, proved(health.True, ahead)...)
		b.tracker.Set(health.ClusterReachable, health.True, "Reachable", "")
		b.start()
		defer b.stop()
		time.Sleep(proveFirst + 3*time.Minute)
		if c := b.tracker.Get(health.PodsRun); c.Status != health.False || c.Checked.After(time.Now()) {
			t.Errorf("got %+v", c)
		}
	})
}
