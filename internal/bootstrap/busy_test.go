package bootstrap

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func TestInTheWay(t *testing.T) {
	apt := host.Packages{Manager: "apt", Busy: host.Is(true), BusyBy: "apt-get", BusyPID: 812}
	setup := host.Packages{Manager: "apt", Busy: host.Is(false), CloudInit: "running"}
	both, ours := apt, setup
	both.CloudInit = "running"
	ours.UnderCloudInit = host.Is(true)
	oursAndApt := both
	oursAndApt.UnderCloudInit = host.Is(true)
	const held, cloud = "apt-get (process 812) holds the lock of apt", "cloud-init still sets this machine up"
	for _, tt := range []struct {
		name            string
		p               host.Packages
		packages, setup bool
		want            string
	}{
		{"nobody", host.Packages{Manager: "apt", Busy: host.Is(false), CloudInit: "done"}, true, true, ""},
		{"nothing known", host.Packages{}, true, true, ""},
		{"apt, and the plan needs it", apt, true, true, held},
		{"apt, and the plan does not", apt, false, true, ""},
		{"first boot", setup, false, true, cloud},
		{"first boot, --wait 0", setup, false, false, ""},
		{"first boot with apt", both, false, true, cloud + ", and " + held},
		{"cloud-init runs us", ours, true, true, ""},
		{"cloud-init runs us, and somebody runs apt", oursAndApt, true, true, held},
		{"a lock of nobody known", host.Packages{Manager: "pacman", Busy: host.Is(true)}, true, true, "somebody holds the lock of pacman"},
	} {
		if got := inTheWay(tt.p, tt.packages, tt.setup); got != tt.want {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
	if usesPackages([]distro.Remedy{{ID: distro.RemedySysctl}}) || !usesPackages([]distro.Remedy{{ID: distro.RemedyPackage}}) {
		t.Error("usesPackages")
	}
}

// patient is a patience whose condition ends at a time.
func patient(limit, ends time.Duration) (p patience, events *[]wire.Event) {
	began := time.Now()
	events = &[]wire.Event{}
	return patience{
		limit: limit,
		tell:  func(e wire.Event) { *events = append(*events, e) },
		busy: func(context.Context) (string, error) {
			if time.Since(began) >= ends {
				return "", nil
			}
			return "apt-get (process 812) holds the lock of apt", nil
		},
		over: func(who string) error { return reason.Newf(reason.HostPackagesBusy, "%s", who) },
	}, events
}

func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, events := patient(5*time.Minute, 0)
		if waited, err := p.wait(t.Context()); waited || err != nil || len(*events) != 0 {
			t.Errorf("nobody there: %v, %v, %v", waited, err, *events)
		}
		began := time.Now()
		p, events = patient(5*time.Minute, 70*time.Second)
		waited, err := p.wait(t.Context())
		if took := time.Since(began); !waited || err != nil || took < 70*time.Second || took > 71*time.Second {
			t.Errorf("waited %v, %v, %v", waited, took, err)
		}
		var said []string
		for _, e := range *events {
			if e.Kind != "waiting" || e.Detail == nil {
				t.Errorf("%+v", e)
			}
			said = append(said, e.Message)
		}
		const want = "Waiting: apt-get (process 812) holds the lock of apt. At most 5m0s more|" +
			"Still waiting, 30s of 5m0s: apt-get (process 812) holds the lock of apt|" +
			"Still waiting, 1m0s of 5m0s: apt-get (process 812) holds the lock of apt|Free after 1m10s"
		if got := strings.Join(said, "|"); got != want {
			t.Error(got)
		}
		began = time.Now()
		p, _ = patient(time.Minute, time.Hour)
		_, err = p.wait(t.Context())
		if took := time.Since(began); !reason.Is(err, reason.HostPackagesBusy) || reason.Exit(err) != reason.ExitBusy || took > 61*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		began = time.Now()
		p, _ = patient(0, time.Hour)
		if _, err := p.wait(t.Context()); !reason.Is(err, reason.HostPackagesBusy) || time.Since(began) != 0 {
			t.Errorf("with no patience: %v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		p, _ = patient(time.Minute, time.Hour)
		if _, err := p.wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("stopped: %v", err)
		}
	})
}

// TestOpenWaits: another pipeops-agent is waited for only if that was asked for.
func TestOpenWaits(t *testing.T) {
	dir := t.TempDir()
	first, err := plan.Open(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{StateDir: dir, Events: func(wire.Event) {}}
	if _, _, err := o.open(t.Context()); !reason.Is(err, reason.Busy) || reason.Exit(err) != reason.ExitBusy {
		t.Errorf("at once: %v", err)
	}
	o.WaitLock = time.Minute
	o.Events = func(e wire.Event) { // it has begun to wait
		if e.Kind == "waiting" && strings.HasPrefix(e.Message, "Waiting") {
			if err := first.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	second, _, err := o.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}
