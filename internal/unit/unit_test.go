package unit

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLeftoversAreTheCgroupAndItsDescendants(t *testing.T) {
	root := t.TempDir()
	for path, content := range map[string]string{
		"sys/fs/cgroup/systemd/system.slice/k3s.service/cgroup.procs":       "100\n",
		"sys/fs/cgroup/systemd/system.slice/k3s.service/child/cgroup.procs": "110\n",
		"sys/fs/cgroup/systemd/system.slice/other.service/cgroup.procs":     "200\n",
		"proc/1/stat":   "1 (systemd) S 0 1",
		"proc/100/stat": "100 (containerd-shim) S 1 100",
		"proc/101/stat": "101 (pau) se) S 100 100", // in a cgroup of its own
		"proc/102/stat": "102 (nginx) S 101 100",
		"proc/103/stat": "103 (dead) Z 100 100",
		"proc/110/stat": "110 (x) S 1 1",
		"proc/200/stat": "200 (sshd) S 1 1",
		"proc/201/stat": "201 (bash) S 200 1",
		"proc/self/x":   "",
	} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := leftovers(root, "/system.slice/k3s.service")
	if want := []int{100, 101, 102, 110}; err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	got, err = leftovers(root, "/system.slice/gone.service")
	if err != nil || len(got) != 0 {
		t.Errorf("of a cgroup that is gone: %v, %v", got, err)
	}
}

func TestKillLeftovers(t *testing.T) {
	root := t.TempDir()
	if err := os.Symlink("/proc", filepath.Join(root, "proc")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "sleep 300 & echo $!; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	buf := make([]byte, 16)
	n, err := out.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	go func() { waited <- cmd.Wait() }()
	child, err := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	if err != nil {
		t.Fatal(err)
	}
	procs := filepath.Join(root, "sys/fs/cgroup/k3s.service/cgroup.procs")
	if err := os.MkdirAll(filepath.Dir(procs), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(procs, []byte(strconv.Itoa(cmd.Process.Pid)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := KillAll(ctx, "k3s", func() ([]int, error) { return leftovers(root, "/k3s.service") }); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err == nil {
		t.Error("the shell was not killed")
	}
	if running(child) {
		t.Error("its child was not killed")
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("101 (pau) se) S 100 100")
	f.Add("1 (")
	f.Fuzz(func(t *testing.T, line string) {
		if ppid, alive := parseStat(line); alive && ppid < 0 {
			t.Errorf("%q: %d", line, ppid)
		}
	})
}

// listen stands in for systemd's end of the notifications.
func listen(t *testing.T) *net.UnixConn {
	t.Helper()
	addr := &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"}
	conn, err := net.ListenUnixgram("unixgram", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", addr.Name)
	return conn
}

func receive(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 256)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestNotifications(t *testing.T) {
	conn := listen(t)
	var n Notifier
	for want, tell := range map[string]func() error{
		"READY=1\nSTATUS=connected": func() error { return n.Ready("connected") },
		"STATUS=reconnecting":       func() error { return n.Status("reconnecting") },
		"STOPPING=1":                n.Stopping,
	} {
		if err := tell(); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, conn); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestWatchdogTellsOnlyWhileAlive(t *testing.T) {
	conn := listen(t)
	t.Setenv("WATCHDOG_USEC", "30000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	var alive atomic.Bool
	alive.Store(true)
	var asked atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Notifier{}.Watchdog(ctx, func() bool { asked.Add(1); return alive.Load() })
	}()
	for range 3 {
		if got := receive(t, conn); got != "WATCHDOG=1" {
			t.Errorf("%q", got)
		}
	}
	alive.Store(false)
	for start := asked.Load(); asked.Load() < start+3; {
		time.Sleep(time.Millisecond)
	}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for buf, late := make([]byte, 64), 0; ; late++ {
		if _, err := conn.Read(buf); errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if late > 1 { // one may have been under way
			t.Fatal("a dead service tells that it is alive")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestNoWatchdogOutsideOfAUnit(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "")
	t.Setenv("NOTIFY_SOCKET", "")
	if err := (Notifier{}).Watchdog(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if err := (Notifier{}).Ready(""); err != nil {
		t.Error(err)
	}
}

func TestBroken(t *testing.T) {
	for _, tt := range []struct {
		state State
		want  bool
	}{
		{State{Active: "inactive", Sub: "dead", Job: true}, false}, // waits for network-online.target, say
		{State{Active: "inactive", Sub: "dead"}, true},
		{State{Active: "activating", Sub: "start", Job: true}, false},
		{State{Active: "activating", Sub: "auto-restart", Job: true}, true},
		{State{Active: "activating", Sub: "start", Restarts: 1}, true},
		{State{Active: "failed", Sub: "failed"}, true},
		{State{Active: "deactivating", Sub: "stop-sigterm", Job: true}, false}, // of a restart
	} {
		if got := tt.state.broken(); got != tt.want {
			t.Errorf("%+v: %v", tt.state, got)
		}
	}
}

// TestPause: to wait for a unit never takes more than a twentieth of a machine that is starting it.
func TestPause(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{
		0:                      100 * time.Millisecond,
		time.Millisecond:       100 * time.Millisecond,
		20 * time.Millisecond:  400 * time.Millisecond,
		100 * time.Millisecond: 2 * time.Second, // in an emulator
		time.Minute:            2 * time.Second,
	} {
		if got := pause(took); got != want {
			t.Errorf("after %v: %v, want %v", took, got, want)
		}
	}
}

func TestPending(t *testing.T) {
	for _, tt := range []struct {
		job  any
		want bool
	}{{[]any{uint32(7), "/"}, true}, {[]any{uint32(0), "/"}, false}, {[]any{}, false}, {nil, false}, {"x", false}} {
		if got := pending(tt.job); got != tt.want {
			t.Errorf("%v: %v", tt.job, got)
		}
	}
}
