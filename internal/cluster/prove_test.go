package cluster_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/cluster/clustertest"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// like returns a layer with a check and limits of its own.
func like(id string, check func(context.Context) (string, error), after ...string) cluster.Layer {
	return cluster.Layer{ID: id, Condition: strings.ToUpper(id), Code: reason.LayerDNS, After: after, First: time.Minute, Again: time.Second,
		Check: func(ctx context.Context, _ *cluster.Client) (string, error) { return check(ctx) }}
}

func TestUntilWaitsAndGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &cluster.Source{Fixed: clustertest.New()}
		asked := 0
		third := like("third", func(context.Context) (string, error) {
			if asked++; asked < 3 {
				return "", errors.New("not yet")
			}
			return "seen", nil
		})
		if evidence, err := cluster.Until(t.Context(), source, third); err != nil || asked != 3 || evidence != "seen" {
			t.Errorf("%q, %v after %d questions", evidence, err, asked)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		never := like("never", func(context.Context) (string, error) { return "", errors.New("no pod is ready") })
		if _, err := cluster.Until(ctx, source, never); !reason.Is(err, reason.LayerDNS) || !strings.Contains(err.Error(), "no pod is ready") {
			t.Errorf("got %v", err)
		}
	})
}

// TestUnprovableIsBelievedLate: what a young cluster does not have yet is waited for, what it will never have is no failure.
func TestUnprovableIsBelievedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &cluster.Source{Fixed: clustertest.New()}
		began := time.Now()
		late := like("late", func(context.Context) (string, error) {
			if time.Since(began) < 2*time.Second {
				return "", &cluster.UnprovableError{Reason: "NoStorageClass", Message: "none"}
			}
			return "", nil
		})
		if _, err := cluster.Until(t.Context(), source, late); err != nil {
			t.Errorf("late: %v", err)
		}
		proof := cluster.Prove(t.Context(), source, []cluster.Layer{like("none", func(context.Context) (string, error) {
			return "", &cluster.UnprovableError{Reason: "NoStorageClass", Message: "none"}
		})}, cluster.First)
		o, err := proof.Wait(t.Context(), "none")
		if err != nil || o.Status != health.Unknown || o.Reason != "NoStorageClass" || o.Message != "none" {
			t.Errorf("never: %+v, %v", o, err)
		}
		proof.Stop()
	})
}

func TestProveAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &cluster.Source{Fixed: clustertest.New()}
		takes := func(d time.Duration) func(context.Context) (string, error) {
			return func(context.Context) (string, error) { time.Sleep(d); return "ok", nil }
		}
		behind := like("behind", takes(time.Second))
		behind.Behind = []string{"fails"}
		var tried atomic.Bool
		layers := []cluster.Layer{
			like("first", takes(time.Second)),
			like("slow", takes(3*time.Second), "first"),
			like("other", takes(3*time.Second), "first"),
			like("fails", func(context.Context) (string, error) { return "", errors.New("broken") }),
			like("above", func(context.Context) (string, error) { tried.Store(true); return "", nil }, "fails"),
			behind,
		}
		began := time.Now()
		proof := cluster.Prove(t.Context(), source, layers, cluster.First)
		for _, id := range []string{"first", "slow", "other"} {
			if o, err := proof.Wait(t.Context(), id); err != nil || o.Status != health.True || o.Message != "ok" {
				t.Errorf("%s: %+v, %v", id, o, err)
			}
		}
		if d := time.Since(began); d != 4*time.Second {
			t.Errorf("two layers of 3 s above one of 1 s took %v", d)
		}
		outcomes := proof.Outcomes()
		if d := time.Since(began); d != time.Minute+time.Second {
			t.Errorf("the layer behind one that takes a minute to fail took %v", d)
		}
		want := []string{health.True, health.True, health.True, health.False, health.Unknown, health.True}
		for i, o := range outcomes {
			if o.Status != want[i] {
				t.Errorf("%s is %s: %s %s", layers[i].ID, o.Status, o.Reason, o.Message)
			}
		}
		if tried.Load() || outcomes[4].Reason != cluster.NotProved || !strings.Contains(outcomes[4].Message, "FAILS is not proved") {
			t.Errorf("what stands on the failed layer: %+v", outcomes[4])
		}
		if outcomes[3].Reason != "LAYER_DNS" || outcomes[3].Message != "broken" || !outcomes[3].At.Equal(began.Add(time.Minute)) {
			t.Errorf("the failed layer: %+v", outcomes[3])
		}
	})
}

// TestStoppedProofSaysNothing: an install that is interrupted has not seen that a layer fails.
func TestStoppedProofSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := func(context.Context) (string, error) { return "", errors.New("not yet") }
		proof := cluster.Prove(t.Context(), &cluster.Source{Fixed: clustertest.New()},
			[]cluster.Layer{like("one", never), like("two", never, "one")}, cluster.First)
		synctest.Wait()
		for _, o := range proof.Stop() {
			if o.Status != health.Unknown || o.Reason != cluster.NotProved {
				t.Errorf("%+v", o)
			}
		}
	})
}

// TestLayersAreInOrder: a layer comes after those that it builds on, and has all that it needs.
func TestLayersAreInOrder(t *testing.T) {
	for _, adopted := range []bool{false, true} {
		seen := map[string]bool{}
		for _, l := range append([]cluster.Layer{cluster.API()}, cluster.Layers(cluster.Probe{Adopted: adopted})...) {
			for _, below := range append(l.After, l.Behind...) {
				if !seen[below] {
					t.Errorf("%s comes before %s", l.ID, below)
				}
			}
			seen[l.ID] = true
			if e := reason.Lookup(l.Code); e.Exit != reason.ExitUnhealthy {
				t.Errorf("%s ends with %d", l.Code, e.Exit)
			}
			if l.Title == "" || l.First == 0 || l.Again == 0 || l.Again > l.First {
				t.Errorf("%+v", l)
			}
		}
		if adopted && (seen[cluster.LayerService] || seen[cluster.LayerStorage]) {
			t.Errorf("an adopted cluster gets %v", seen)
		}
	}
	left := cluster.Unproved(time.Now())
	if len(left) != 4 || left[0].Reason != cluster.Adopted || left[0].Status != health.Unknown || left[0].Kept().Checked.IsZero() {
		t.Errorf("%+v", left)
	}
}
