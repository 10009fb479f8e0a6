package bootstrap

import (
	"context"
	"errors"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// A layer that fails has its own code and exit code, and the cause and the way out that k3s itself tells of.
func TestLayerThatFailsTellsItsCause(t *testing.T) {
	timedOut := context.DeadlineExceeded
	layer := reason.New(reason.LayerNode, "0 of 1 nodes are ready", timedOut)
	words := distro.Words{Unit: "level=fatal msg=\"Failed to listen: listen tcp :6443: bind: address already in use\"\n"}
	diagnosis, ok := distro.Diagnose(words, host.Facts{})
	if !ok {
		t.Fatal("no cause was found")
	}
	err := because(layer, diagnosis)
	var told *reason.Error
	if !errors.As(err, &told) || told.Code != reason.LayerNode || reason.Exit(err) != reason.ExitUnhealthy {
		t.Errorf("err = %v, exit %d", err, reason.Exit(err))
	}
	if !reason.Is(err, reason.NetPortTaken) || !errors.Is(err, timedOut) || told.Fix != diagnosis.Err(nil).Fix {
		t.Errorf("err = %v, fix %q", err, told.Fix)
	}
}

// Nobody is asked for the cause of what the user has stopped, nor of what is not k3s's.
func TestLayerThatIsNotDiagnosed(t *testing.T) {
	stopped, stop := context.WithCancel(t.Context())
	stop()
	layer := reason.Newf(reason.LayerNode, "0 of 1 nodes are ready")
	for _, tt := range []struct {
		ctx    context.Context
		chosen string
		err    error
	}{
		{stopped, distro.K3s, layer},
		{t.Context(), distro.Existing, layer},
		{t.Context(), distro.K3s, nil},
		{t.Context(), distro.K3s, errors.New("of another kind")},
	} {
		if got := (Options{}).diagnose(tt.ctx, distro.Decision{Chosen: tt.chosen}, tt.err); got != tt.err {
			t.Errorf("%s: %v became %v", tt.chosen, tt.err, got)
		}
	}
}
