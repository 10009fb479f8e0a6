package reach

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// TestLimits: one user cannot take all connections, nor all users those of the Kubernetes API; what is given back can be taken again.
func TestLimits(t *testing.T) {
	w := build(t)
	for range maxPerUser {
		if err := w.enter("a"); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.enter("a"); !reason.Is(err, reason.ConnectBusy) {
		t.Errorf("one more of a: %v", err)
	}
	for n := range maxOpen - maxPerUser {
		if err := w.enter(fmt.Sprint("b", n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.enter("c"); !reason.Is(err, reason.ConnectBusy) {
		t.Errorf("one more of all: %v", err)
	}
	w.leave("a")
	if err := w.enter("c"); err != nil {
		t.Errorf("after one has left: %v", err)
	}
	w.leave("c")
	for range maxPerUser - 1 {
		w.leave("a")
	}
	for n := range maxOpen - maxPerUser {
		w.leave(fmt.Sprint("b", n))
	}
}

// TestUDPNeedsANode: where the way is by the API server, datagrams are refused, and it is said why.
func TestUDPNeedsANode(t *testing.T) {
	w := build(t, pod("good", false, "Running", "10.42.0.5"))
	w.Far = true
	if err := w.ask(t, "pipeops:eve", "udp", "pod/shop/good:53"); !reason.Is(err, reason.ConnectUnreachable) || !strings.Contains(err.Error(), "carries no udp") {
		t.Errorf("got %v", err)
	}
	if err := w.ask(t, "pipeops:eve", "tcp", "pod/shop/good:53"); !reason.Is(err, reason.ConnectUnreachable) {
		t.Errorf("got %v", err)
	}
	if got := w.reached(); len(got) > 0 {
		t.Errorf("dialled: %v", got)
	}
}

// TestAnswersOfReviewsAge: a right that is taken away counts soon.
func TestAnswersOfReviewsAge(t *testing.T) {
	w := build(t)
	client, _ := w.Source.Client()
	target := wire.Target{Network: "tcp", Kind: wire.KindService, Namespace: "shop", Name: "web", Port: "80"}
	check := func() error { return w.Reach.reviews.check(t.Context(), client, "pipeops:a", nil, target) }
	if err := check(); err != nil {
		t.Fatal(err)
	}
	w.denied["create services/proxy shop/web"] = true
	if err := check(); err != nil {
		t.Errorf("asked again at once: %v", err)
	}
	for key, v := range w.Reach.reviews.kept {
		v.until = time.Now().Add(-time.Second)
		w.Reach.reviews.kept[key] = v
	}
	if err := check(); !reason.Is(err, reason.ConnectForbidden) {
		t.Errorf("later: %v", err)
	}
}

// TestTurns: no more are made at once than may be; others wait, and give up with who asked.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{})
		var all []func()
		for range maxDials {
			done, err := r.turn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, done)
		}
		began := time.Now()
		if _, err := r.turn(t.Context()); !reason.Is(err, reason.ConnectBusy) || time.Since(began) != askTimeout {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		time.AfterFunc(time.Second, all[0])
		if done, err := r.turn(t.Context()); err != nil {
			t.Errorf("one has gone: %v", err)
		} else {
			done()
		}
	})
}
