package bootstrap

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
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

// TestSuspicionIsToldWhileOneWaits: with the code, the line that told and the way out, as something that may be.
func TestSuspicionIsToldWhileOneWaits(t *testing.T) {
	words := distro.Words{Unit: "Starting k3s.service - Lightweight Kubernetes...\ntime=\"2026-11-26T01:50:07Z\" level=error msg=\"write /x: no space left on device\"\n"}
	d, ok := distro.Suspect(words, host.Facts{})
	if !ok {
		t.Fatal("nothing is suspected")
	}
	var told []wire.Event
	o := Options{Events: func(e wire.Event) { told = append(told, e) }}
	o.tellSuspicion(d)
	if len(told) != 1 || told[0].Kind != "suspicion" || told[0].Code != string(reason.HostDiskLow) {
		t.Fatalf("told %+v", told)
	}
	for _, want := range []string{"perhaps", "no space left on device", "If it stays so: " + d.Err(nil).Fix} {
		if !strings.Contains(told[0].Message, want) {
			t.Errorf("%q is missing in %q", want, told[0].Message)
		}
	}
}

// TestOthersThanK3sAreNotSuspected: their words are not known, and their machine is not looked at.
func TestOthersThanK3sAreNotSuspected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := (Options{}).suspecting(t.Context(), distro.Decision{Chosen: distro.Existing}, func(context.Context) error {
			time.Sleep(time.Hour)
			return errors.New("the end")
		})
		if err == nil || err.Error() != "the end" {
			t.Errorf("got %v", err)
		}
	})
}
