package openrc

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

// live returns a manager of this machine, and the service of it that may be stopped. test/e2e runs these tests in a machine
// with a cluster.
func live(t *testing.T) (context.Context, *Manager, string) {
	name := os.Getenv("OPENRC_LIVE_SERVICE")
	if name == "" {
		t.Skip("OPENRC_LIVE_SERVICE names no service to stop")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	m, err := Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return ctx, m, name
}

// TestLiveStopAll stops a service with all that it left.
func TestLiveStopAll(t *testing.T) {
	ctx, m, name := live(t)
	before, err := m.leftovers(service(name))
	if err != nil || len(before) == 0 {
		t.Fatalf("nothing runs: %v", err)
	}
	if err := m.StopAll(ctx, name); err != nil {
		t.Fatal(err)
	}
	after, err := m.leftovers(service(name))
	if err != nil || len(after) != 0 {
		t.Errorf("left of %d processes: %v, %v", len(before), after, err)
	}
	if s, err := m.State(ctx, name); err != nil || s.Active != "inactive" || !s.Enabled() {
		t.Errorf("state %+v, %v", s, err)
	}
}

// liveScript starts a shell that leaves a daemon behind; with the file /run/live-crash it ends at once instead.
const liveScript = `#!/sbin/openrc-run
supervisor=supervise-daemon
command=/bin/sh
command_args="-c 'test ! -e /run/live-crash || exit 3; setsid sleep 3111 & exec sleep 3112'"
pidfile=/run/openrc-live.pid
respawn_delay=5
respawn_max=0
`

// TestLiveLife takes a service of its own through all that may become of one.
func TestLiveLife(t *testing.T) {
	const name, script, crash = "openrc-live.service", "/etc/init.d/openrc-live", "/run/live-crash"
	ctx, m, _ := live(t)
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	state := func(active, sub string) unit.State {
		t.Helper()
		s, err := m.State(ctx, name)
		if err != nil || s.Active != active || s.Sub != sub {
			t.Errorf("state %+v, %v; want %s (%s)", s, err, active, sub)
		}
		return s
	}
	must("disable what is not there", m.Disable(ctx, name))
	must("stop what is not there", m.StopAll(ctx, name))
	must("write", os.WriteFile(script, []byte(liveScript), 0o755))
	t.Cleanup(func() { _ = os.Remove(script); _ = os.Remove(crash) })

	state("inactive", "dead")
	must("enable", m.Enable(ctx, name))
	must("enable again", m.Enable(ctx, name))
	must("reset what has not failed", m.ResetFailed(ctx, name))
	must("start", m.RestartNoWait(ctx, name))
	must("wait", m.WaitActive(ctx, name))
	first := state("active", "running")
	if !first.Enabled() {
		t.Error("it is not enabled")
	}
	must("restart", m.RestartNoWait(ctx, name))
	must("wait again", m.WaitActive(ctx, name))
	second := state("active", "running")
	if second.MainPID == first.MainPID {
		t.Error("it was not restarted")
	}

	// its supervisor dies: the next start must not find the old process
	pid, err := os.ReadFile("/run/openrc-live.pid")
	must("read", err)
	must("kill", syscall.Kill(int(parseValue(string(pid))), syscall.SIGKILL))
	for m.carries(int(parseValue(string(pid))), service(name)) {
		time.Sleep(10 * time.Millisecond)
	}
	state("failed", "failed")
	must("reset", m.ResetFailed(ctx, name))
	state("inactive", "dead")
	if unit.Alive("/", int(second.MainPID)) {
		t.Error("the old process lives on")
	}

	must("crash", os.WriteFile(crash, nil, 0o600))
	must("start", m.RestartNoWait(ctx, name))
	if err := m.WaitActive(ctx, name); err == nil || !strings.Contains(err.Error(), "auto-restart") {
		t.Errorf("err = %v", err)
	}
	must("mend", os.Remove(crash))

	must("stop all", m.StopAll(ctx, name))
	if left, err := m.leftovers(service(name)); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	must("disable", m.Disable(ctx, name))
	must("disable again", m.Disable(ctx, name))
	if s := state("inactive", "dead"); s.Enabled() {
		t.Error("it is still enabled")
	}
}
