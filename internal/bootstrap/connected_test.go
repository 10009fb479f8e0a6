package bootstrap

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
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

// TestConnectedTellsOfARemovedMachine: a node that an administrator has removed is told so when join is run there again, and what to do:
// a new token alone would not help.
func TestConnectedTellsOfARemovedMachine(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	serving, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- localapi.Serve(serving, socket, localapi.Answers{Status: func() localapi.Status {
			return localapi.Status{Conditions: []wire.Condition{{Type: health.Tunnel, Status: health.False, Reason: string(reason.IdentityRevoked), Message: "shop has no machine with this key"}}}
		}})
	}()
	defer func() {
		stop()
		<-served
	}()
	var err error
	for err == nil || !strings.Contains(err.Error(), "shop has no machine") { // until it serves
		err = Options{Socket: socket}.tunnelUp(t.Context())
	}
	if !reason.Is(err, reason.IdentityRevoked) {
		t.Errorf("of a cluster: %v", err)
	}
	err = Options{Socket: socket, Node: &NodeOptions{}}.tunnelUp(t.Context())
	var known *reason.Error
	if !errors.As(err, &known) || known.Code != reason.IdentityRevoked || !strings.Contains(known.Fix, "pipeops-agent uninstall") {
		t.Errorf("of a node: %v", err)
	}
}
