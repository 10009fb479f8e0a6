package bootstrap

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// TestStoryOfWhatWasStopped: the gateway hears of an install that a signal has ended that it was stopped, not that the step which
// was at work has failed.
func TestStoryOfWhatWasStopped(t *testing.T) {
	g := gatewaytest.Start(t)
	dir := t.TempDir()
	enrolled(t, g, dir)
	id, err := identity.Load(filepath.Join(dir, "identity"))
	if err != nil {
		t.Fatal(err)
	}
	failed := reason.New(reason.LayerAPI, "", errors.New("context canceled"))
	for want, end := range map[reason.Code]func(context.Context) context.Context{
		reason.LayerAPI: func(ctx context.Context) context.Context { return ctx },
		reason.Interrupted: func(ctx context.Context) context.Context {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx
		},
	} {
		s := &story{show: func(wire.Event) {}, log: slog.New(slog.DiscardHandler)}
		s.reportTo(id)
		s.close(end(t.Context()), failed)
		list, err := g.Admin.Clusters(t.Context())
		if err != nil || len(list) != 1 || list[0].Install == nil || list[0].Install.Code != string(want) {
			t.Errorf("want %s: %+v, %v", want, list, err)
		}
	}
}
