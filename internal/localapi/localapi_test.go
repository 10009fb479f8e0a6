package localapi

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServeAndFetch(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	if _, err := Fetch(t.Context(), socket); !reason.Is(err, reason.AgentNotRunning) {
		t.Errorf("without an agent: %v", err)
	}
	// the remains of an agent that was killed are in the way of nothing
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want := Status{Agent: "v1", Cluster: "one", Conditions: []wire.Condition{{Type: "Tunnel", Status: "True"}}}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	answers := Answers{Status: func() Status { return want }, Prove: func(context.Context) error { want.Cluster = "proved"; return nil }}
	go func() { served <- Serve(ctx, socket, answers) }()

	var got Status
	deadline := time.Now().Add(10 * time.Second)
	for {
		var err error
		if got, err = Fetch(t.Context(), socket); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err := Prove(t.Context(), socket); err != nil || got.Cluster != "proved" {
		t.Errorf("after a proof: %+v, %v", got, err)
	}
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("the socket has mode %o", mode)
	}
	cancel()
	if err := <-served; !errors.Is(err, context.Canceled) {
		t.Errorf("Serve returns %v", err)
	}
}

// serve serves answers until the test ends.
func serve(t *testing.T, answers Answers) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "agent.sock")
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, socket, answers) }()
	t.Cleanup(func() {
		cancel()
		<-served
	})
	for deadline := time.Now().Add(10 * time.Second); ; {
		if _, err := Fetch(t.Context(), socket); err == nil {
			return socket
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func status() Status { return Status{Agent: "v1"} }

// TestAProofThatCannotBeTried ends as a cluster that is not well, with what the agent says.
func TestAProofThatCannotBeTried(t *testing.T) {
	socket := serve(t, Answers{Status: status, Prove: func(context.Context) error { return errors.New("cannot find the kubeconfig") }})
	_, err := Prove(t.Context(), socket)
	if !reason.Is(err, reason.ClusterUnhealthy) || reason.Exit(err) != reason.ExitUnhealthy || !strings.Contains(err.Error(), "cannot find the kubeconfig") {
		t.Errorf("got %v", err)
	}
}

// TestASecondAgentIsRefused: it does not take the socket, and with it the tunnel, away from the one that runs.
func TestASecondAgentIsRefused(t *testing.T) {
	socket := serve(t, Answers{Status: status})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := Serve(ctx, socket, Answers{Status: func() Status { return Status{Agent: "v2"} }}); !reason.Is(err, reason.Busy) {
		t.Errorf("got %v", err)
	}
	if got, err := Fetch(t.Context(), socket); err != nil || got.Agent != "v1" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestTheEndWaitsForThoseWhoAsked: nothing of a question is left when Serve has returned.
func TestTheEndWaitsForThoseWhoAsked(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	proving := make(chan struct{})
	var ended atomic.Bool
	served := make(chan error, 1)
	go func() {
		served <- Serve(ctx, socket, Answers{Status: status, Prove: func(ctx context.Context) error {
			close(proving)
			<-ctx.Done()
			time.Sleep(50 * time.Millisecond) // what a round takes to clean up
			ended.Store(true)
			return ctx.Err()
		}})
	}()
	asked := make(chan error, 1)
	go func() {
		for {
			if _, err := Prove(t.Context(), socket); !reason.Is(err, reason.AgentNotRunning) || ended.Load() || ctx.Err() != nil {
				asked <- err
				return
			}
		}
	}()
	<-proving
	cancel()
	<-served
	if !ended.Load() {
		t.Error("the proof still runs")
	}
	<-asked
}

// TestWhoEndsTheQuestionIsNoDeadAgent: that a user does not wait says nothing of the agent.
func TestWhoEndsTheQuestionIsNoDeadAgent(t *testing.T) {
	socket := serve(t, Answers{Status: status, Prove: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Prove(ctx, socket); err == nil || reason.Is(err, reason.AgentNotRunning) {
		t.Errorf("got %v", err)
	}
}
