package bootstrap

import (
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// TestWhatIsProvedAgain: an install that changes nothing bothers the machine with pods only where the last one left a doubt.
func TestWhatIsProvedAgain(t *testing.T) {
	record := func(last wire.Condition) health.Record {
		var r health.Record
		for _, l := range cluster.Layers(cluster.Probe{}) {
			r = r.With(wire.Condition{Type: l.Condition, Status: health.True, Checked: time.Now()})
		}
		return r.With(last)
	}
	tests := []struct {
		name string
		last wire.Condition
		want bool
	}{
		{"all proved", wire.Condition{}, false},
		{"one failed", wire.Condition{Type: health.LargePacket, Status: health.False, Reason: "LAYER_LARGE_PACKET", Checked: time.Now()}, true},
		{"one was not tried to the end", wire.Condition{Type: health.Storage, Status: health.Unknown, Reason: cluster.NotProved, Checked: time.Now()}, true},
		{"one cannot be proved here", wire.Condition{Type: health.Storage, Status: health.Unknown, Reason: "NoStorageClass", Checked: time.Now()}, false},
		{"the DNS is looked at anyway", wire.Condition{Type: health.DNS, Status: health.False, Checked: time.Now()}, false},
	}
	for _, tt := range tests {
		if got := unproved(record(tt.last), cluster.Layers(cluster.Probe{})); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if !unproved(health.Record{}, cluster.Layers(cluster.Probe{})) {
		t.Error("nothing is known, and nothing is proved")
	}
}
