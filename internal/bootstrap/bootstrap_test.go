package bootstrap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// options are those of a captured machine.
func options(t *testing.T, machine string) Options {
	t.Helper()
	system, err := host.Load(filepath.Join("..", "host", "testdata", "machines", machine))
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Cluster: "one",
		Request: distro.Request{Distro: distro.Auto, Adopt: true, Kubernetes: distro.K3sVersion},
		Install: distro.Install{Arch: "amd64", Dir: t.TempDir(), Version: distro.K3sVersion},
		Config: func(d distro.Decision, _ []reason.Cost) ([]byte, error) {
			return fmt.Appendf(nil, "distro: %s\nkubeconfig: %s\n", d.Chosen, d.Kubeconfig), nil
		},
		ConfigPath: "/etc/pipeops-agent/config.yaml",
		StateDir:   t.TempDir(),
		Program:    "/usr/local/bin/pipeops-agent",
		Host:       system,
	}
}

// TestPlans holds the steps of an install by what the machine is: all of k3s where it is installed, none of it where a
// cluster is adopted.
func TestPlans(t *testing.T) {
	adopted := []string{"connected", "layer-node", "layer-dns", "layer-pod"}
	proofs := concat(adopted, []string{"layer-pod-network", "layer-service", "layer-large-packet", "layer-storage"})
	agent := []string{"agent-config", "agent-unit", "layer-api", "account", "access", "credential-unit"}
	resume := []string{"resume-unit"}
	k3s := []string{"k3s-download", "k3s-binary", "k3s-images", "sysctl", "k3s-config", "k3s-unit"}
	tests := []struct {
		machine string
		want    []string
	}{
		{"debian12-vm", concat(resume, []string{"modules"}, k3s, agent, proofs)},
		{"debian12-no-oom", concat(resume, k3s[:5], []string{"k3s-containerd", "k3s-unit"}, agent, proofs)},
		{"kubeadm-running", concat(resume, agent, adopted)},
		{"vps-512mb", []string{}},
	}
	for _, tt := range tests {
		t.Run(tt.machine, func(t *testing.T) {
			o := options(t, tt.machine)
			p, err := MakePlan(t.Context(), o, trial.Of(o.Host))
			if err != nil {
				t.Fatal(err)
			}
			ids := []string{}
			for _, s := range p.Steps {
				ids = append(ids, s.ID)
			}
			if diff := cmp.Diff(tt.want, ids); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func concat(lists ...[]string) []string {
	var all []string
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

func TestEnrollOnce(t *testing.T) {
	gateway := gatewaytest.Start(t)
	o := options(t, "debian12-vm")
	o.Gateway = gateway.Address
	asked := 0
	o.Token = func() (wire.Token, error) { asked++; return gateway.Token(""), nil }

	first, err := o.enroll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again, err := o.enroll(t.Context())
	if err != nil || again.ClusterID() != first.ClusterID() || asked != 1 {
		t.Errorf("again: %v, the token was asked for %d times", err, asked)
	}
	other := o
	other.Cluster = "two"
	if _, err := other.enroll(t.Context()); !reason.Is(err, reason.AlreadyEnrolled) {
		t.Errorf("another name: %v", err)
	}
	elsewhere := o
	elsewhere.Gateway = "elsewhere:8443"
	if _, err := elsewhere.enroll(t.Context()); !reason.Is(err, reason.AlreadyEnrolled) {
		t.Errorf("another gateway: %v", err)
	}
}

func TestStepEvents(t *testing.T) {
	e := stepEvent(plan.Event{Step: "k3s-download", Title: "Download k3s", State: plan.Failed, Duration: 1500 * time.Millisecond,
		Err: fmt.Errorf("cannot go on: %w", reason.Newf(reason.DownloadDigest, "k3s"))})
	if e.Kind != "step" || e.State != "failed" || e.DurationMS != 1500 || e.Code != "DOWNLOAD_DIGEST" || e.Message == "" {
		t.Errorf("got %+v", e)
	}
	if e := stepEvent(plan.Event{Err: errors.New("x")}); e.Code != "" || e.Message != "x" {
		t.Errorf("got %+v", e)
	}
}

// TestPlanUnderOpenRC wants the plan of such a machine to speak of its services, and of nothing of systemd's.
func TestPlanUnderOpenRC(t *testing.T) {
	o := options(t, "alpine-openrc")
	p, err := MakePlan(t.Context(), o, trial.Of(o.Host))
	if err != nil {
		t.Fatal(err)
	}
	var changes []string
	for _, s := range p.Steps {
		changes = append(changes, s.Changes...)
	}
	for _, want := range []string{"/etc/init.d/k3s", "OpenRC service k3s (enabled, started)", "/etc/init.d/pipeops-agent", "OpenRC service pipeops-agent (enabled, started)"} {
		if !slices.Contains(changes, want) {
			t.Errorf("%q is not among the changes %q", want, changes)
		}
	}
	if all := strings.Join(changes, "\n"); strings.Contains(all, "systemd") {
		t.Errorf("the plan speaks of systemd:\n%s", all)
	}
}

// TestClockThreeYearsOff: whichever of the two clocks is wrong, nobody is enrolled, the error is one and says what the clocks say,
// and the token is still good afterwards.
func TestClockThreeYearsOff(t *testing.T) {
	for _, years := range []int{-3, 3} {
		gateway := gatewaytest.StartAt(t, func() time.Time { return time.Now().AddDate(years, 0, 0) })
		o := options(t, "debian12-vm")
		o.Gateway = gateway.Address
		o.Token = func() (wire.Token, error) { return gateway.Token(""), nil }
		_, err := o.enroll(t.Context())
		var known *reason.Error
		if !errors.As(err, &known) || known.Code != reason.HostClock || !strings.Contains(known.Error(), "clock") || !strings.Contains(known.Fix, "clock") {
			t.Errorf("%d years: %v", years, err)
		}
		if _, err := os.Stat(filepath.Join(o.StateDir, "identity", "identity.json")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d years: an identity is there: %v", years, err)
		}
	}
}
