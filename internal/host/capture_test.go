package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCaptureReplays captures the machine that runs the test: replayed, it shows the same facts.
func TestCaptureReplays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "machine")
	trials := map[string]TrialResult{"overlay": {OK: Is(true)}}
	measured := map[string]TrialResult{"overlay": {OK: Is(true)}, "fsync_p99_ms": {OK: Is(true), Detail: "4.5 ms", Value: Is(4.5)}}
	live := whole(t, func() Facts {
		f, err := Capture(t.Context(), dir, measured)
		if err != nil {
			t.Fatal(err)
		}
		return f
	})
	s := load(t, dir)
	replayed := Collect(t.Context(), s)
	for i := range live.Disk { // the parent that was measured is not in the contract
		live.Disk[i].At, replayed.Disk[i].At = "", ""
	}
	live.Memory.Available, replayed.Memory.Available = Known[uint64]{}, Known[uint64]{}
	if diff := cmp.Diff(live, replayed); diff != "" {
		t.Errorf("live and replayed differ:\n%s", diff)
	}
	if got := s.Snapshot().Numbers["fsync_p99_ms"]; got != 4.5 {
		t.Errorf("the number that a trial measured is %v", got)
	}
	if diff := cmp.Diff(trials, s.Snapshot().Trials); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(filepath.Join(dir, "proc/net/tcp")); err == nil {
		t.Error("the capture holds the addresses of peers")
	}
}

func TestRedact(t *testing.T) {
	for _, c := range []struct{ name, path, in, want string }{
		{"environment of pid 1", "/proc/1/environ", "TOKEN=abc\x00container=lxc\x00HOME=/\x00", "container=lxc\x00"},
		{"no container", "/proc/1/environ", "TOKEN=abc\x00", ""},
		{"machine id", "/etc/machine-id", "58b773e0f53d4073a061aa8d1f9c17e4\n", strings.Repeat("0", 32) + "\n"},
		{"no machine id yet", "/etc/machine-id", "uninitialized\n", "uninitialized\n"},
		{"ledger", LedgerFile, `{"op":"change","id":4,"target":"/usr/local/bin/k3s","before":{"value":"s3cret"}}` + "\n", `{"op":"change","id":1,"target":"/usr/local/bin/k3s"}` + "\n"},
		{"public address", "/etc/hosts", "93.184.216.34 a 10.1.2.3 b 127.0.0.1 c", "192.0.2.1 a 10.1.2.3 b 127.0.0.1 c"},
		{"public IPv6 address", "/etc/hosts", "2606:2800:220:1::1 a fe80::1 b ::1 c", "2001:db8::1 a fe80::1 b ::1 c"},
		{"version is no address", "/x", "PCRE 10.2.3.4.5 at 12:30", "PCRE 10.2.3.4.5 at 12:30"},
		{"password of a share", "/proc/self/mountinfo", "1 2 0:3 / /mnt rw - cifs //nas/home rw,username=joe,password=x\n", "1 2 0:3 / /mnt rw - cifs redacted rw\n"},
	} {
		if got := string(redact(c.path, []byte(c.in))); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
