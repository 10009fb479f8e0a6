package distro

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// TestStartThatFailsNamesItsCause: the error of the step, and of its event, is that of the cause, and the unit is gone.
func TestStartThatFailsNamesItsCause(t *testing.T) {
	b := newBench(t)
	b.units.fail = errors.New("k3s.service does not start")
	_, w := readJournal(t, "port-6443")
	b.in.LastWords = func(context.Context, string) string { return w.Unit }
	b.in.Look = func(context.Context) host.Facts { return machineFacts(t, "nginx on 6443") }
	var told error
	_, err := b.run(func(e plan.Event) {
		if e.State == plan.Failed {
			told = e.Err
		}
	})
	for _, err := range []error{err, told} {
		if !reason.Is(err, reason.NetPortTaken) || reason.Exit(err) != reason.ExitRolledBack || !strings.Contains(err.Error(), "nginx (pid 812)") || !strings.Contains(err.Error(), "does not start") {
			t.Errorf("err = %v", err)
		}
	}
	if got := b.units.states["k3s.service"]; got.Active != "inactive" {
		t.Errorf("the unit is %+v", got)
	}
}

// TestStartThatFailsElsewhere: what containerd and the pods of the cluster said counts too, below the data directory of this k3s.
func TestStartThatFailsElsewhere(t *testing.T) {
	tests := []struct{ name, path, line, want string }{
		{"containerd", "/var/lib/rancher/k3s/agent/containerd/containerd.log", "panic: freepages: failed to get all reachable pages\n", "containerd-database"},
		{"containerd elsewhere", "/data/k3s/agent/containerd/containerd.log", "panic: freepages: failed to get all reachable pages\n", ""},
		{"a pod", "/var/log/pods/kube-system_coredns-1_2/coredns/0.log", "2026-11-26T02:16:20.1Z stdout F [FATAL] plugin/loop: Loop\n", "dns-loop"},
		{"a pod of somebody else", "/var/log/pods/default_coredns-1_2/coredns/0.log", "2026-11-26T02:16:20.1Z stdout F [FATAL] plugin/loop: Loop\n", ""},
	}
	for _, tt := range tests {
		b := newBench(t)
		b.write(tt.path, tt.line)
		if d, _ := Diagnose(b.in.around(Words{}, k3sDataDir), host.Facts{}); d.Cause.Name != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, d.Cause.Name, tt.want)
		}
	}
	f := host.Facts{Clusters: []host.Cluster{{Name: K3s, Settings: map[string]string{"data-dir": "/data/k3s"}}}}
	if got := K3sData(f); got != "/data/k3s" {
		t.Error(got)
	}
	if got := K3sData(host.Facts{}); got != k3sDataDir {
		t.Error(got)
	}
}

// TestInterruptedStartIsNotDiagnosed: a user who has pressed Ctrl-C does not wait for journalctl.
func TestInterruptedStartIsNotDiagnosed(t *testing.T) {
	b := newBench(t)
	b.units.fail = errors.New("interrupted")
	b.in.LastWords = func(context.Context, string) string { t.Error("the journal was read"); return "" }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := service{Install: b.in, name: "k3s.service"}
	if err := s.prove(ctx); err == nil {
		t.Error("no error")
	}
}
