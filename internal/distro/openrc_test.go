package distro

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/openrc"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

var _ Units = (*openrc.Manager)(nil)

// newOpenRCBench is a machine where OpenRC starts the services.
func newOpenRCBench(t *testing.T) *bench {
	b := newBench(t)
	b.in.OpenRC = true
	b.in.LastWords = nil
	b.in.Ready = func(context.Context) error { return nil }
	return b
}

func TestStartingLine(t *testing.T) {
	for want, init := range map[string]host.Init{
		"rc-service k3s start":        {OpenRC: host.Is(true)},
		"systemctl start k3s.service": {Systemd: host.Is(true)},
	} {
		if got := startingLine(host.Facts{Init: init}, "k3s.service"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestOpenRC(t *testing.T) {
	for want, all := range map[bool][]host.Init{
		true:  {{OpenRC: host.Is(true)}, {OpenRC: host.Is(true), Systemd: host.Is(false)}},
		false: {{}, {Systemd: host.Is(true)}, {Systemd: host.Is(true), OpenRC: host.Is(true)}, {OpenRC: host.Is(false)}},
	} {
		for _, init := range all {
			if got := OpenRC(host.Facts{Init: init}); got != want {
				t.Errorf("%+v: %v", init, got)
			}
		}
	}
}

func TestK3sInstallUnderOpenRC(t *testing.T) {
	b := newOpenRCBench(t)
	asked := 0
	b.in.Ready = func(context.Context) error {
		if asked++; asked < 2 {
			return errors.New("not yet")
		}
		return nil
	}
	b.must("k3s-binary", "k3s-images", "sysctl", "k3s-config", "k3s-containerd", "k3s-unit")
	if asked != 2 {
		t.Errorf("asked %d times whether it is ready", asked)
	}
	if got := b.read("/etc/init.d/k3s"); got != k3sInitScript {
		t.Errorf("script: %s", got)
	}
	for target, mode := range map[string]fs.FileMode{"/etc/init.d/k3s": 0o755, "/etc/logrotate.d/k3s": 0o644} {
		if st, err := os.Stat(b.in.path(target)); err != nil || st.Mode() != mode {
			t.Errorf("%s: %v, %v", target, st, err)
		}
	}
	if got := b.read("/etc/logrotate.d/k3s"); !strings.Contains(got, "\n/var/log/k3s.log {\n") || !strings.HasPrefix(got, ownMarker) {
		t.Errorf("logrotate: %s", got)
	}
	if _, err := os.Lstat(b.in.path("/etc/systemd")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something of systemd was written: %v", err)
	}
	b.units.since()

	tree := b.tree()
	b.must()
	if got := b.tree(); got != tree {
		t.Error(cmp.Diff(tree, got))
	}
	if got := b.units.since(); len(got) != 0 {
		t.Errorf("a second run tells OpenRC %v", got)
	}
	if err := os.Remove(b.in.path("/etc/logrotate.d/k3s")); err != nil {
		t.Fatal(err)
	}
	b.must("k3s-unit")
}

func TestK3sScript(t *testing.T) {
	if got := (&k3sInstall{binDir: k3sBinDir}).script(); got != k3sInitScript {
		t.Error(got)
	}
	got := (&k3sInstall{binDir: "/opt/bin", Install: Install{Remedies: []Remedy{{ID: RemedySharedRoot}}}}).script()
	for _, line := range []string{"\ncommand=/opt/bin/k3s\n", "\nshared_root=yes\n"} {
		if strings.Count(got, line) != 1 {
			t.Errorf("no %q in %s", line, got)
		}
	}
	if strings.Contains(got, "/usr/local") || strings.Contains(got, "shared_root=no") {
		t.Error(got)
	}
}

func TestSharedRootUnderOpenRCIsInTheScript(t *testing.T) {
	b := newOpenRCBench(t)
	b.in.Remedies = []Remedy{{ID: RemedySharedRoot}}
	b.must("k3s-binary", "k3s-images", "sysctl", "k3s-config", "k3s-unit")
	if got := b.read("/etc/init.d/k3s"); !strings.Contains(got, "\nshared_root=yes\n") {
		t.Error(got)
	}
	if _, err := os.Lstat(b.in.path("/etc/systemd")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something of systemd was written: %v", err)
	}
	b.must()
}

func TestOpenRCServiceThatEndsBeforeItIsReady(t *testing.T) {
	b := newOpenRCBench(t)
	b.write("/var/log/k3s.log", strings.Repeat("of no use\n", 10000)+"level=fatal msg=\"no cgroups\"\n")
	b.in.Ready = func(context.Context) error {
		b.units.states["k3s.service"] = unit.State{Active: "failed", Sub: "failed"}
		return errors.New("not yet")
	}
	_, err := b.run(nil)
	if !reason.Is(err, reason.StepFailed) || !strings.Contains(err.Error(), "before it was ready") || !strings.Contains(err.Error(), "no cgroups") {
		t.Errorf("err = %v", err)
	}
	want := []string{"disable k3s.service", "stop k3s.service", "reset k3s.service", "reload"}
	if got := b.units.since(); !slices.Equal(got[len(got)-4:], want) {
		t.Errorf("OpenRC was told %v", got)
	}
	for _, left := range []string{"/etc/init.d/k3s", "/etc/logrotate.d/k3s"} {
		if _, err := os.Lstat(b.in.path(left)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", left, err)
		}
	}
}

func TestAgentServiceUnderOpenRC(t *testing.T) {
	const binary = "/opt/bin/pipeops-agent"
	b := newOpenRCBench(t)
	b.write(binary, "the agent")
	run := func(want ...string) {
		t.Helper()
		step, err := AgentService(b.in, binary, "config")
		if err != nil {
			t.Fatal(err)
		}
		changes := []string{"/etc/init.d/pipeops-agent", "/etc/logrotate.d/pipeops-agent", "OpenRC service pipeops-agent (enabled, started)"}
		if diff := cmp.Diff(changes, step.Changes); diff != "" {
			t.Error(diff)
		}
		if _, err := b.runSteps([]plan.Step{step}, nil); err != nil {
			t.Fatal(err)
		}
		if got := b.units.since(); !slices.Equal(got, want) {
			t.Errorf("OpenRC was told %v, want %v", got, want)
		}
	}
	run("reload", "enable pipeops-agent.service", "reset pipeops-agent.service", "restart pipeops-agent.service")
	run()
	if got := b.read("/etc/init.d/pipeops-agent"); !strings.Contains(got, "\ncommand="+binary+"\n") || strings.Contains(got, "/usr/bin/pipeops-agent") {
		t.Error(got)
	}
	if strings.Contains(strings.ToLower(agentInitScript), "token") {
		t.Error("the script speaks of a token")
	}
	for _, bad := range []string{"", "agent", "/opt/my agent", "/opt/$x", "/opt/`x`", "/opt/a;b"} {
		if _, err := AgentService(b.in, bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestLogTail(t *testing.T) {
	b := newBench(t)
	if got := logTail(b.in.path("/var/log/k3s.log")); got != "" {
		t.Errorf("of no log: %q", got)
	}
	b.write("/var/log/k3s.log", "\xff"+strings.Repeat("x", 2*maxLogTail)+"the end\n")
	if got := logTail(b.in.path("/var/log/k3s.log")); len(got) != maxLogTail || !strings.HasSuffix(got, "xthe end\n") {
		t.Errorf("%d bytes", len(got))
	}
	if got := logTail(b.in.path("/var/log")); got != "" {
		t.Errorf("of a folder: %q", got)
	}
}
