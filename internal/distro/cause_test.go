package distro

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const journals = "testdata/journals"

// readJournal reads a captured or reconstructed journal: where it comes from, and the words.
func readJournal(t testing.TB, name string) (about string, w Words) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(journals, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]*strings.Builder{"": {}, "unit": {}, "containerd": {}, "pods": {}}
	in := parts[""]
	for line := range strings.Lines(string(text)) {
		name, ok := strings.CutPrefix(strings.TrimSuffix(line, " --\n"), "-- ")
		if part := parts[name]; ok && part != nil {
			in = part
			continue
		}
		in.WriteString(line)
	}
	return parts[""].String(), Words{parts["unit"].String(), parts["containerd"].String(), parts["pods"].String()}
}

// machineFacts are what is known of the machines on which the same words mean different things.
func machineFacts(t testing.TB, name string) host.Facts {
	var f host.Facts
	f.Listening = []host.Listener{}
	container := func(name string) {
		f.Virtualization.Stack = []host.Layer{{Kind: host.LayerContainer, Name: name}}
	}
	switch name {
	case "":
	case "pi":
		f.Hardware.Model = "Raspberry Pi 4 Model B Rev 1.4"
	case "lxc":
		container("lxc")
	case "lxc, unprivileged":
		container("lxc")
		f.Virtualization.UserNamespace = host.Is(true)
	case "nspawn":
		container("systemd-nspawn")
	case "alpine":
		f.OS.Family = "alpine"
		f.Init.OpenRC = host.Is(true)
	case "el8":
		f.OS = host.OS{Family: "rhel", ID: "rocky", Version: "8.10"}
	case "selinux":
		f.LSM.SELinux = "enforcing"
	case "slow disk":
		f.Disk = []host.Disk{{Path: host.ClusterDir, At: "/", Rotational: host.Is(true)}}
	case "no inodes":
		f.Disk = []host.Disk{{Path: host.ClusterDir, At: "/", Statfs: host.Statfs{Free: host.Is(uint64(8 << 30)), FreeInodes: host.Is(uint64(0))}}}
	case "full":
		f.Disk = []host.Disk{{Path: host.ClusterDir, At: "/", Statfs: host.Statfs{Free: host.Is(uint64(1 << 20)), FreeInodes: host.Is(uint64(1 << 20))}}}
	case "nginx on 6443":
		f.Listening = []host.Listener{{Proto: "tcp", Port: 6443, Owner: "nginx", PID: 812}}
	case "a k3s on 6444":
		f.Listening = []host.Listener{{Proto: "tcp", Port: 6444, Owner: "k3s-server", PID: 99}}
	case "ufw":
		f.Firewall.UFW = host.Is(true)
	case "2023":
		f.Clock = host.Clock{Year: host.Is(2023), Synchronized: host.Is(false)}
	default:
		t.Fatalf("no machine %q", name)
	}
	return f
}

func TestDiagnose(t *testing.T) {
	for _, row := range causeRows() {
		t.Run(strings.TrimSuffix(row.journal+" on "+row.machine, " on "), func(t *testing.T) {
			_, w := readJournal(t, row.journal)
			d, ok := Diagnose(w, machineFacts(t, row.machine))
			if ok != (row.cause != "") || d.Cause.Name != row.cause || d.Cause.Code != row.code {
				t.Fatalf("got %q %s, want %q %s\n%s", d.Cause.Name, d.Cause.Code, row.cause, row.code, d.Line)
			}
			if !strings.Contains(d.Evidence(), row.shows) {
				t.Errorf("%q is not in the evidence: %s", row.shows, d.Evidence())
			}
		})
	}
}

// TestJournalsAreComplete: each journal has a row and says where it comes from, and each cause is told by one.
func TestJournalsAreComplete(t *testing.T) {
	paths, err := filepath.Glob(journals + "/*.log")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	captured := 0
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".log")
		if !slices.ContainsFunc(causeRows(), func(r causeRow) bool { return r.journal == name }) {
			t.Errorf("%s has no row", name)
		}
		about, _ := readJournal(t, name)
		if !strings.HasPrefix(about, "captured: ") && !strings.HasPrefix(about, "reconstructed: after ") {
			t.Errorf("%s does not say where it comes from: %q", name, about)
		}
		if strings.HasPrefix(about, "captured: ") {
			captured++
		}
	}
	t.Logf("%d journals, %d of them captured, %d causes", len(paths), captured, len(K3sCauses()))
	seen := map[string]bool{}
	for _, c := range K3sCauses() {
		if seen[c.Name] {
			t.Errorf("two causes are called %s", c.Name)
		}
		seen[c.Name] = true
		if !slices.ContainsFunc(causeRows(), func(r causeRow) bool { return r.cause == c.Name }) {
			t.Errorf("no journal tells of %s", c.Name)
		}
		if reason.Lookup(c.Code); len(c.Says) == 0 || slices.Contains(c.Says, "") {
			t.Errorf("%s is told by nothing", c.Name)
		}
	}
}

// TestNewestStart: what an earlier start died of says nothing, unless the newest has only begun.
func TestNewestStart(t *testing.T) {
	const (
		full    = "Starting k3s.service - Lightweight Kubernetes...\ntime=\"2026-01-02T03:04:05Z\" level=fatal msg=\"no space left on device\"\nk3s.service: Main process exited, code=exited, status=1/FAILURE\nk3s.service: Failed with result 'exit-code'.\nk3s.service: Scheduled restart job, restart counter is at 1.\n"
		begun   = "Starting k3s.service - Lightweight Kubernetes...\ntime=\"2026-01-02T03:04:15Z\" level=info msg=\"Starting k3s v1.33.2+k3s1 (ec165b10)\"\n"
		port    = begun + "time=\"2026-01-02T03:04:16Z\" level=fatal msg=\"listen tcp :6443: bind: address already in use\"\n"
		stopped = begun + "Stopping k3s.service - Lightweight Kubernetes...\nk3s.service: Deactivated successfully.\n"
		openrc  = "time=\"2026-01-02T03:04:05Z\" level=info msg=\"Starting k3s v1.33.2+k3s1 (ec165b10)\"\ntime=\"2026-01-02T03:04:05Z\" level=fatal msg=\"no space left on device\"\n"
		stale   = "time=\"2026-01-02T02:00:00.1Z\" level=info msg=\"starting containerd\"\npanic: freepages: failed to get all reachable pages\n"
		fresh   = "time=\"2026-01-02T03:04:16.1Z\" level=info msg=\"starting containerd\"\npanic: freepages: failed to get all reachable pages\n"
	)
	tests := []struct {
		name  string
		words Words
		want  string
	}{
		{"one", Words{Unit: full}, "disk-full"},
		{"the newest counts", Words{Unit: full + port}, "port-taken"},
		{"the newest has only begun", Words{Unit: full + begun}, "disk-full"},
		{"the newest is up", Words{Unit: full + begun + "Started k3s.service - Lightweight Kubernetes.\n"}, ""},
		{"the newest was stopped", Words{Unit: full + stopped}, ""},
		{"not the third last", Words{Unit: full + stopped + begun}, ""},
		{"OpenRC", Words{Unit: openrc + strings.ReplaceAll(openrc, "no space left on device", "yaml: line 3")}, "config-syntax"},
		{"containerd, of an earlier start", Words{Unit: begun, Containerd: stale}, ""},
		{"containerd, of this start", Words{Unit: begun, Containerd: stale + fresh}, "containerd-database"},
		{"a pod, of an earlier start", Words{Unit: begun, Pods: "2026-01-02T02:00:00.1Z stdout F [FATAL] plugin/loop: Loop\n"}, ""},
		{"a pod, of this start", Words{Unit: begun, Pods: "2026-01-02T03:05:00.1Z stdout F [FATAL] plugin/loop: Loop\n"}, "dns-loop"},
		{"nothing", Words{}, ""},
	}
	for _, tt := range tests {
		if d, _ := Diagnose(tt.words, host.Facts{}); d.Cause.Name != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, d.Cause.Name, tt.want)
		}
	}
}

func TestQuote(t *testing.T) {
	tests := []struct{ name, line, want string }{
		{"colours", "\x1b[31mFATA\x1b[0m[0000] no space left on device\r\x07", "FATA[0000] no space left on device"},
		{"a title of the terminal", "\x1b]0;owned\x07no space left on device", "no space left on device"},
		{"direction of writing", "no space left on device \u202egpj.exe", "no space left on device gpj.exe"},
		{"not UTF-8", "caf\xe9: no space left on device", "caf: no space left on device"},
		{"quotes in quotes", `time="2026-01-02T03:04:05Z" level=error msg="open \"/a b\": no space left on device"`, "open '/a b': no space left on device"},
		{"an error beside the message", `time="2026-01-02T03:04:05Z" level=error msg="it failed" error="no space left on device"`, "it failed error='no space left on device'"},
		{"a password in an address", `fatal: postgres://k3s:hunter2@10.0.0.1:5432/k3s: no space left on device`, "fatal: postgres://k3s:***@10.0.0.1:5432/k3s: no space left on device"},
		{"a password with a slash", `no space left on device: mysql://k3s:hun/ter@2@tcp(10.0.0.1)/k3s`, "no space left on device: mysql://k3s:***@tcp(10.0.0.1)/k3s"},
		{"a token", `no space left on device K10abcdef0123456789abcdef0123456789::server:0123456789abcdef`, "no space left on device K10abcdef01***"},
		{"a setting", `no space left on device --token=hunter2 password: "hunter 3"`, "no space left on device --token=*** password: ***"},
		{"an error about a token", `no space left on device: invalid token: too short`, "no space left on device: invalid token: too short"},
		{"a token as a value", `no space left on device: token: 0123456789abcdef`, "no space left on device: token: ***"},
		{"klog", `E1126 01:55:55.282623    5792 a.go:719] "It failed" err="no space left on device"`, "'It failed' err='no space left on device'"},
	}
	for _, tt := range tests {
		d, ok := Diagnose(Words{Unit: tt.line + "\n"}, host.Facts{})
		if !ok || d.Line != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, d.Line, tt.want)
		}
	}
	long := strings.Repeat("é", 500) + " no space left on device " + strings.Repeat("é", 500)
	d, _ := Diagnose(Words{Unit: long}, host.Facts{})
	if len(d.Line) > maxQuote || !utf8.ValidString(d.Line) || !strings.Contains(d.Line, "no space left on device") || !strings.HasPrefix(d.Line, "...") || !strings.HasSuffix(d.Line, "...") {
		t.Errorf("%d bytes: %s", len(d.Line), d.Line)
	}
}

// TestColoursAreCheap: a log that is nothing but colours does not keep an install waiting.
func TestColoursAreCheap(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { fit("\x1b[1m x") }); n > 20 {
		t.Errorf("%v allocations for a line", n)
	}
}

func TestDiagnosisAsError(t *testing.T) {
	because := errors.New("k3s.service does not start")
	_, w := readJournal(t, "port-6443")
	d, _ := Diagnose(w, machineFacts(t, "nginx on 6443"))
	err := d.Err(because)
	if err.Code != reason.NetPortTaken || reason.Exit(err) != reason.ExitRolledBack || !errors.Is(err, because) || err.Fix == "" {
		t.Errorf("got %+v", err)
	}
	if !strings.Contains(err.Error(), "held by nginx (pid 812)") || !strings.Contains(err.Error(), "does not start") {
		t.Error(err)
	}
	_, w = readJournal(t, "noexec")
	if d, _ = Diagnose(w, host.Facts{}); d.Err(because).Fix != reason.Lookup(reason.K3sNoExec).Fix {
		t.Error(d.Err(because).Fix)
	}
}

// TestFixesFitTheMachine: nobody is told to call a systemd that is not there.
func TestFixesFitTheMachine(t *testing.T) {
	_, w := readJournal(t, "cni-plugin")
	for init, want := range map[string]struct {
		facts host.Init
		says  string
	}{
		"systemd":    {host.Init{Name: "systemd", Systemd: host.Is(true)}, "systemctl stop k3s"},
		"OpenRC":     {host.Init{Name: "init", Systemd: host.Is(false), OpenRC: host.Is(true)}, "rc-service k3s stop"},
		"supervised": {host.Init{Name: "sh", Systemd: host.Is(false)}, "pipeops-agent services stop k3s"},
		"unknown":    {host.Init{}, "systemctl stop k3s"},
	} {
		f := host.Facts{Init: want.facts}
		if d, ok := Diagnose(w, f); !ok || !strings.Contains(d.Cause.Fix, want.says) {
			t.Errorf("%s: %q, want %q", init, d.Cause.Fix, want.says)
		}
		for _, c := range K3sCauses() {
			if fix := inWordsOf(f, c.Fix); !want.facts.Systemd.Or(true) && (strings.Contains(fix, "systemctl") || strings.Contains(fix, "journalctl")) {
				t.Errorf("%s, %s: %s", init, c.Name, fix)
			}
		}
	}
}

func FuzzDiagnose(f *testing.F) {
	paths, err := filepath.Glob(journals + "/*.log")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		_, w := readJournal(f, strings.TrimSuffix(filepath.Base(path), ".log"))
		f.Add(w.Unit[max(0, len(w.Unit)-4<<10):], w.Containerd, w.Pods, "lxc")
	}
	f.Add("\x1b[31m no space left on device \xff K10abc", "time=\"", "Z F", "full")
	f.Fuzz(func(t *testing.T, unit, containerd, pods, machine string) {
		var facts host.Facts
		if machine == "lxc" || machine == "full" {
			facts = machineFacts(t, machine)
		}
		d, ok := Diagnose(Words{unit, containerd, pods}, facts)
		if !ok {
			return
		}
		if d.Cause.Name == "" || len(d.Line) > maxQuote || !utf8.ValidString(d.Line) || strings.ContainsFunc(d.Line, unicode.IsControl) {
			t.Errorf("%s: %q", d.Cause.Name, d.Line)
		}
		if again, _ := Diagnose(Words{unit, containerd, pods}, facts); again.Line != d.Line || again.Cause.Name != d.Cause.Name {
			t.Errorf("%q, and then %q", d.Line, again.Line)
		}
		if said := telling(unit); !utf8.ValidString(said) || strings.ContainsFunc(said, unicode.IsControl) {
			t.Errorf("%q", said)
		}
	})
}
