package bootstrap

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// TestLayerThatFailsIsDiagnosed: a layer whose time is over ends with its cause; one that the user has stopped asks nobody.
func TestLayerThatFailsIsDiagnosed(t *testing.T) {
	source := &cluster.Source{Path: t.TempDir() + "/none"}
	asked := 0
	step := layerStep(source, cluster.API(), func(ctx context.Context, err error) error {
		asked++
		if ctx.Err() != nil {
			t.Error("there is no time for a diagnosis")
		}
		return reason.New(reason.NetPortTaken, "port 6443", err)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := step.Prove(ctx); !reason.Is(err, reason.NetPortTaken) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v", err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := step.Prove(stopped); err == nil || reason.Is(err, reason.NetPortTaken) || asked != 1 {
		t.Errorf("err = %v, asked %d times", err, asked)
	}
}
