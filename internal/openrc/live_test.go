package openrc

import (
	"context"
	"os"
	"testing"
	"time"
)

// TestLive stops a service of this machine with all that it left; test/e2e runs it in a machine with a cluster.
func TestLive(t *testing.T) {
	name := os.Getenv("OPENRC_LIVE_SERVICE")
	if name == "" {
		t.Skip("OPENRC_LIVE_SERVICE names no service to stop")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	m, err := Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	before, err := m.leftovers(service(name))
	if err != nil || len(before) == 0 {
		t.Fatalf("nothing runs: %v", err)
	}
	if err := m.StopAll(ctx, name); err != nil {
		t.Fatal(err)
	}
	after, err := m.leftovers(service(name))
	if err != nil || len(after) != 0 {
		t.Errorf("left of %d processes: %v, %v", len(before), after, err)
	}
	if s, err := m.State(ctx, name); err != nil || s.Active != "inactive" || !s.Enabled() {
		t.Errorf("state %+v, %v", s, err)
	}
}
