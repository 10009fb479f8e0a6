package openrc

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/command"
)

// bench is a machine in a folder, with programs that say what a test wants.
type bench struct {
	t     *testing.T
	m     *Manager
	calls []string
	exits map[string]int // by the command line
	after map[string]func()
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, exits: map[string]int{}, after: map[string]func(){}}
	b.m = &Manager{Root: t.TempDir(), Settle: time.Millisecond, Run: b.run}
	b.write("/etc/init.d/k3s", "#!/sbin/openrc-run\n")
	b.write("/proc/1/stat", "1 (init) S 0 1")
	b.exits["rc-service k3s status"] = 3
	return b
}

func (b *bench) run(_ context.Context, limit time.Duration, argv ...string) ([]byte, error) {
	if limit <= 0 {
		b.t.Errorf("%v has no limit", argv)
	}
	line := strings.Join(argv, " ")
	b.calls = append(b.calls, line)
	if exit := b.exits[line]; exit != 0 {
		return nil, &command.Error{Argv: argv, Exit: exit, Err: errors.New("exit status " + strconv.Itoa(exit))}
	}
	if then := b.after[line]; then != nil {
		then()
	}
	return nil, nil
}

func (b *bench) write(path, content string) {
	b.t.Helper()
	path = b.m.path(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// told returns the calls since the last time, without questions.
func (b *bench) told() []string {
	calls := slices.DeleteFunc(b.calls, func(c string) bool { return strings.HasSuffix(c, " status") })
	b.calls = nil
	return calls
}

func TestState(t *testing.T) {
	tests := []struct {
		name   string
		exit   int
		files  map[string]string
		active string
		sub    string
	}{
		{"stopped", 3, nil, "inactive", "dead"},
		{"given up", 3, map[string]string{"/run/openrc/failed/k3s": ""}, "failed", "failed"},
		{"just started", 0, nil, "activating", "start"},
		{"running", 0, map[string]string{"/run/openrc/options/k3s/child_pid": "70", "/proc/70/stat": "70 (k3s-server) S 60 70"}, "active", "running"},
		{"waits for its next start", 0, map[string]string{"/run/openrc/options/k3s/child_pid": "70", "/run/openrc/options/k3s/start_count": "2"}, "activating", "auto-restart"},
		{"nonsense of a pid", 0, map[string]string{"/run/openrc/options/k3s/child_pid": "-1"}, "activating", "start"},
		{"starting", 8, nil, "activating", "start"},
		{"stopping", 4, nil, "deactivating", "stop"},
		{"crashed", 32, nil, "failed", "failed"},
		{"unsupervised", 64, nil, "failed", "failed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.exits["rc-service k3s status"] = tt.exit
			for path, content := range tt.files {
				b.write(path, content)
			}
			s, err := b.m.State(t.Context(), "k3s.service")
			if err != nil || s.Active != tt.active || s.Sub != tt.sub || s.Load != "loaded" || s.File != "disabled" {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
	b := newBench(t)
	if s, err := b.m.State(t.Context(), "nonesuch.service"); err != nil || s.Load != "not-found" || s.Active != "inactive" || s.Enabled() || len(b.calls) > 0 {
		t.Errorf("of a service that is not there: %+v, %v, asked %v", s, err, b.calls)
	}
	b.exits["rc-service k3s status"] = 1
	if _, err := b.m.State(t.Context(), "k3s.service"); err == nil {
		t.Error("a status that OpenRC does not know is taken for one")
	}
}

func TestEnableAndDisableOnce(t *testing.T) {
	b := newBench(t)
	link := b.m.path("/etc/runlevels/default/k3s")
	b.after["rc-update add k3s default"] = func() { b.write("/etc/runlevels/default/k3s", "") }
	b.after["rc-update del k3s default"] = func() { _ = os.Remove(link) }
	for range 2 {
		if err := b.m.Enable(t.Context(), "k3s.service"); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := b.m.State(t.Context(), "k3s.service"); err != nil || !s.Enabled() {
		t.Errorf("%+v, %v", s, err)
	}
	for range 2 {
		if err := b.m.Disable(t.Context(), "k3s.service"); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"rc-update add k3s default", "rc-update del k3s default"}
	if diff := cmp.Diff(want, b.told()); diff != "" {
		t.Error(diff)
	}
	b.exits["rc-update add k3s default"] = 1
	if err := b.m.Enable(t.Context(), "k3s.service"); err == nil || !strings.Contains(err.Error(), "cannot enable k3s.service") {
		t.Errorf("err = %v", err)
	}
}

func TestRestartStartsWhatIsStopped(t *testing.T) {
	b := newBench(t)
	for _, exit := range []int{3, 0} {
		b.exits["rc-service k3s status"] = exit
		if err := b.m.RestartNoWait(t.Context(), "k3s.service"); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"rc-service k3s start", "rc-service k3s restart"}, b.told()); diff != "" {
		t.Error(diff)
	}
}

func TestResetFailed(t *testing.T) {
	b := newBench(t)
	for _, exit := range []int{3, 0, 32} {
		b.exits["rc-service k3s status"] = exit
		if err := b.m.ResetFailed(t.Context(), "k3s.service"); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"rc-service --ifexists k3s zap"}, b.told()); diff != "" {
		t.Error(diff)
	}
}

func TestStopAllResetsWhatCannotBeStopped(t *testing.T) {
	b := newBench(t)
	if err := b.m.StopAll(t.Context(), "k3s.service"); err != nil {
		t.Fatal(err)
	}
	b.exits["rc-service --ifexists k3s stop"] = 1
	if err := b.m.StopAll(t.Context(), "k3s.service"); err != nil {
		t.Fatal(err)
	}
	stop := "rc-service --ifexists k3s stop"
	if diff := cmp.Diff([]string{stop, stop, "rc-service --ifexists k3s zap"}, b.told()); diff != "" {
		t.Error(diff)
	}
}

func TestWaitActive(t *testing.T) {
	b := newBench(t)
	b.exits["rc-service k3s status"] = 0
	b.write("/run/openrc/options/k3s/child_pid", "70")
	b.write("/proc/70/stat", "70 (k3s-server) S 60 70")
	if err := b.m.WaitActive(t.Context(), "k3s.service"); err != nil {
		t.Error(err)
	}
	b.write("/run/openrc/options/k3s/start_count", "1")
	if err := b.m.WaitActive(t.Context(), "k3s.service"); err == nil || !strings.Contains(err.Error(), "started again 1 times") {
		t.Errorf("err = %v", err)
	}
	b.exits["rc-service k3s status"] = 3
	if err := b.m.WaitActive(t.Context(), "k3s.service"); err == nil || !strings.Contains(err.Error(), "it is inactive") {
		t.Errorf("err = %v", err)
	}
	b.exits["rc-service k3s status"] = 8
	b.write("/run/openrc/options/k3s/start_count", "0")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if err := b.m.WaitActive(ctx, "k3s.service"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v", err)
	}
}

func TestLeftoversAreMarkedOrInTheGroupOrTheirDescendants(t *testing.T) {
	b := newBench(t)
	for path, content := range map[string]string{
		"/sys/fs/cgroup/openrc/k3s/cgroup.procs": "100\n",
		"/sys/fs/cgroup/openrc/ssh/cgroup.procs": "200\n",
		"/proc/100/stat":                         "100 (containerd-shim) S 1 100",
		"/proc/101/stat":                         "101 (pause) S 100 101",
		"/proc/110/stat":                         "110 (containerd-shim) S 1 110",
		"/proc/110/environ":                      "PATH=/bin\x00RC_SVCNAME=k3s\x00",
		"/proc/111/stat":                         "111 (nginx) S 110 111",
		"/proc/111/environ":                      "PATH=/bin\x00",
		"/proc/120/stat":                         "120 (pipeops-agent) S 1 120",
		"/proc/120/environ":                      "RC_SVCNAME=pipeops-agent\x00",
		"/proc/130/stat":                         "130 (sh) S 200 130",
		"/proc/130/environ":                      "NOTE=RC_SVCNAME=k3s\x00RC_SVCNAME=k3s-other\x00",
		"/proc/140/stat":                         "140 (k3s) S 139 140", // in a container
		"/proc/140/environ":                      "RC_SVCNAME=k3s\x00",
		"/proc/200/stat":                         "200 (sshd) S 1 200",
	} {
		b.write(path, content)
	}
	for pid, root := range map[string]string{"110": "/", "111": "/", "120": "/", "130": "/", "140": "/var/lib/lxc/one/rootfs"} {
		if err := os.MkdirAll(b.m.path(root), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(b.m.path(root), b.m.path("/proc", pid, "root")); err != nil {
			t.Fatal(err)
		}
	}
	got, err := b.m.leftovers("k3s")
	if want := []int{100, 101, 110, 111}; err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	if got, err := b.m.leftovers("nonesuch"); err != nil || len(got) != 0 {
		t.Errorf("of a service that never ran: %v, %v", got, err)
	}
}

func FuzzMarked(f *testing.F) {
	f.Add([]byte("PATH=/bin\x00RC_SVCNAME=k3s\x00"))
	f.Fuzz(func(t *testing.T, environ []byte) {
		if marked(environ, "k3s") && !strings.Contains(string(environ), "RC_SVCNAME=k3s") {
			t.Errorf("%q", environ)
		}
	})
}

func FuzzParseValue(f *testing.F) {
	f.Add("70\n")
	f.Add("-1")
	f.Fuzz(func(t *testing.T, text string) {
		if n := parseValue(text); n != 0 && strings.TrimLeft(strings.TrimSpace(text), "+0") != strconv.Itoa(int(n)) {
			t.Errorf("%q: %d", text, n)
		}
	})
}
