package bootstrap

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/localapi"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// TestConnectedTellsOfTheGateway: when the time is over in the middle of a question, the error is what the agent last said, and not
// that it was asked for too long.
func TestConnectedTellsOfTheGateway(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	ctx, timeOver := context.WithCancel(t.Context())
	release := make(chan struct{})
	var asked atomic.Int32
	serving, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- localapi.Serve(serving, socket, localapi.Answers{Status: func() localapi.Status {
			if asked.Add(1) > 1 {
				timeOver()
				<-release
			}
			return localapi.Status{Conditions: []wire.Condition{{Type: health.Tunnel, Status: health.False, Reason: "Connecting", Message: "connection refused"}}}
		}})
	}()
	defer func() {
		close(release)
		stop()
		<-served
	}()
	err := Options{Socket: socket}.connectedStep().Prove(ctx)
	if !reason.Is(err, reason.GatewayUnreachable) {
		t.Errorf("%v", err)
	}
}
