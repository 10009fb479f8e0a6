package localapi

import (
	"context"
	"errors"
	"os"
	"path/filepath"
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
