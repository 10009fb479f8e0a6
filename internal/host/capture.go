package host

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// recorder keeps what the probes read, so that a machine can be captured. A nil recorder keeps nothing.
type recorder struct {
	mu    sync.Mutex
	files map[string][]byte // content by path
	seen  map[string]bool   // paths that only had to be there; true for a folder
	names []string          // processes

	absent     map[string]bool   // paths that were looked for in vain
	resolved   map[string]string // where paths lead
	containers []Container
}

func (r *recorder) file(path string, b []byte) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(b) >= len(r.files[path]) { // one probe may want its first line, and another all of it
		r.files[path] = b
	}
}

func (r *recorder) exists(path string, dir bool) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[path] = dir
}

func (r *recorder) missing(path string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.absent[path] = true
}

func (r *recorder) resolves(path, to string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resolved[path] = to
}

func (r *recorder) processes(names []string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names = slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		return !matters(n)
	})
}

// witness makes sure that a file which a library reads is in the capture.
func (s *System) witness(path string) {
	if s.record != nil {
		_, _ = s.ReadFile(path) // what cannot be read cannot be captured, and the library tells of it
	}
}

// Capture collects the facts of a live machine and writes it into a folder, which it makes: the files that the probes
// read and a [SnapshotFile]. Secrets, serial numbers and public addresses are taken out. trials may be nil.
func Capture(ctx context.Context, dir string, trials map[string]TrialResult) (Facts, error) {
	r := &recorder{files: map[string][]byte{}, seen: map[string]bool{}, absent: map[string]bool{}, resolved: map[string]string{}}
	f := Collect(ctx, &System{record: r})

	if err := os.MkdirAll(dir, 0o755); err != nil {
		return f, fmt.Errorf("cannot capture the machine: %w", err)
	}
	r.mu.Lock() // a probe that was left behind may still write
	defer r.mu.Unlock()
	for _, path := range slices.Sorted(maps.Keys(r.seen)) {
		if _, ok := r.files[path]; ok {
			continue
		}
		if r.seen[path] {
			path += "/.captured" // so that a folder outlives git
		}
		r.files[path] = nil
	}
	for _, path := range slices.Sorted(maps.Keys(r.files)) {
		if strings.HasPrefix(path, "/proc/net/") { // every peer's address; the snapshot has the ports
			continue
		}
		to := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return f, fmt.Errorf("cannot capture %s: %w", path, err)
		}
		if err := os.WriteFile(to, redact(path, r.files[path]), 0o644); err != nil {
			return f, fmt.Errorf("cannot capture %s: %w", path, err)
		}
	}
	b, err := json.MarshalIndent(snapshotOf(f, r, trials), "", "  ")
	if err != nil {
		return f, fmt.Errorf("cannot capture the machine: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, SnapshotFile), append(b, '\n'), 0o644); err != nil {
		return f, fmt.Errorf("cannot capture the machine: %w", err)
	}
	return f, nil
}

// snapshotOf gathers what no file tells.
func snapshotOf(f Facts, r *recorder, trials map[string]TrialResult) Snapshot {
	s := Snapshot{
		Uname: Uname{Sysname: sysname(f.OS.Kind), Machine: f.Arch.Machine, Release: f.Kernel.Release}, UID: f.UID, CPUs: f.CPU.Count, PageSize: f.Arch.PageSize,
		Cgroup: f.Cgroup.Version, Listening: f.Listening, Processes: r.names, Commands: f.Commands, Docker: f.Docker,
		Statfs: map[string]Statfs{}, Absent: slices.Sorted(maps.Keys(r.absent)), Resolved: r.resolved, Devices: f.Devices,
		SysctlWritable: f.Sysctl.Writable, Packages: f.Packages, Clock: f.Clock, Entropy: f.Entropy,
	}
	s.Trials, s.Numbers = splitTrials(trials)
	if n, ok := f.Inotify.UsedInstances.Get(); ok {
		s.Numbers[numberInotify] = float64(n)
	}
	for _, d := range slices.Concat(f.Disk, f.Volumes) {
		s.Statfs[d.Path] = d.Statfs
	}
	s.NetworkSnapshot = networkSnapshotOf(f, r.containers)
	return s
}

// splitTrials keeps what was measured as a number, by the name of the trial, and what was found as a trial.
func splitTrials(trials map[string]TrialResult) (found map[string]TrialResult, numbers map[string]float64) {
	found, numbers = map[string]TrialResult{}, map[string]float64{}
	for name, r := range trials {
		if v, ok := r.Value.Get(); ok {
			numbers[name] = v
		} else {
			found[name] = r
		}
	}
	return found, numbers
}

// address finds what may be an IP address.
var address = regexp.MustCompile(`(?:\d{1,3}\.){3}\d{1,3}|(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}`)

// redact takes out of a file what is nobody else's business.
func redact(path string, b []byte) []byte {
	switch path {
	case "/proc/1/environ":
		if v := ParseContainerVar(b); v != "" {
			return []byte("container=" + v + "\x00")
		}
		return nil
	case "/etc/machine-id":
		if len(bytes.TrimSpace(b)) == 32 {
			return []byte(strings.Repeat("0", 32) + "\n")
		}
		return b
	case LedgerFile: // its before-images are the contents of files
		var out []byte
		for i, target := range slices.Sorted(maps.Keys(ParseLedger(b))) {
			out = fmt.Appendf(out, "{\"op\":\"change\",\"id\":%d,\"target\":%q}\n", i+1, target)
		}
		return out
	case "/proc/self/mountinfo":
		b = redactMounts(b)
	default:
		if less, ok := keep(path, b); ok {
			b = less
		}
	}
	b = redactNetwork(path, b)
	if bytes.IndexByte(b, 0) >= 0 { // programs; their first bytes hold no address
		return b
	}
	return redactAddresses(b)
}

// redactMounts takes the options out of network file systems: they may hold user names and passwords.
func redactMounts(b []byte) []byte {
	var out []byte
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if i := slices.Index(f, "-"); i > 0 && len(f) > i+3 && (strings.HasPrefix(f[i+1], "cifs") || strings.HasPrefix(f[i+1], "smb") || strings.HasPrefix(f[i+1], "fuse.")) {
			f[i+2], f[i+3] = "redacted", "rw"
			line = []byte(strings.Join(f, " ") + "\n")
		}
		out = append(out, line...)
	}
	return out
}
