package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/mounttable"
)

// seed gives a fuzz target the files of this path from all captured machines.
func seed(f *testing.F, path string) {
	for _, dir := range machines(f) {
		if b, err := os.ReadFile(filepath.Join(dir, path)); err == nil {
			f.Add(b)
		}
	}
	f.Add([]byte(nil))
}

func FuzzParseOSRelease(f *testing.F) {
	seed(f, "etc/os-release")
	f.Fuzz(func(t *testing.T, b []byte) {
		if o := ParseOSRelease(b); o.ID != "" && o.Family == "" {
			t.Errorf("%+v has no family", o)
		}
	})
}

func FuzzParseMountinfo(f *testing.F) {
	seed(f, "proc/self/mountinfo")
	f.Fuzz(func(t *testing.T, b []byte) {
		all, _ := mounttable.Parse(b)
		table := mounts(all)
		cgroupVersion(table)
		cgroupReadOnly(table, "v1")
		if m, ok := table.holding("/var/lib/rancher"); ok && !strings.HasPrefix("/var/lib/rancher", m.Point) {
			t.Errorf("%q does not hold /var/lib/rancher", m.Point)
		}
		if n := len(table.volumes()); n > maxVolumes {
			t.Errorf("%d volumes", n)
		}
		redactMounts(b)
	})
}

func FuzzParseSockets(f *testing.F) {
	f.Add([]byte("   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 18422 1 0 100 0 0 10 0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, proto := range []string{"tcp", "udp"} {
			for _, s := range parseSockets(b, proto) {
				if s.port < 1 || s.port > 65535 {
					t.Errorf("port %d", s.port)
				}
			}
		}
	})
}

func FuzzParseCgroup(f *testing.F) {
	seed(f, "proc/1/cgroup")
	seed(f, "proc/cgroups")
	f.Fuzz(func(t *testing.T, b []byte) {
		ParseCgroups(b)
		ParseCgroupContainer(b)
		for _, p := range ParseCgroupPaths(b) {
			if !strings.HasPrefix(p, "/") || strings.Contains(p, "/../") {
				t.Errorf("path %q leaves the hierarchy", p)
			}
		}
		if l := ParseMemoryLimit(b); l.OK && l.Value == 0 {
			t.Error("a limit of nothing")
		}
		if q := ParseCPUMax(b); q.OK && q.Value <= 0 {
			t.Error("a quota of nothing")
		}
	})
}

func FuzzParseText(f *testing.F) {
	seed(f, "proc/cpuinfo")
	seed(f, "proc/1/environ")
	seed(f, "proc/self/uid_map")
	seed(f, "proc/sys/kernel/osrelease")
	f.Fuzz(func(t *testing.T, b []byte) {
		ParseHypervisorFlag(b)
		if name := containerName(ParseContainerVar(b)); len(name) > 32 || strings.ContainsAny(name, "\x1b\n ") {
			t.Errorf("container name %q", name)
		}
		ParseWholeIDMap(b)
		_, _ = ParseELFClass(b)
		_, _ = ParseDockerVersion(b)
		ParseLedger(b)
		redact("/x", b)
		if major, minor := ParseKernelRelease(string(b)); major < 0 || minor < 0 {
			t.Errorf("kernel %d.%d", major, minor)
		}
		ParseWSL(string(b), true)
		ValidNodeName(string(b))
	})
}

func FuzzParseSnapshot(f *testing.F) {
	seed(f, SnapshotFile)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSnapshot(b)
		if (s == nil) == (err == nil) {
			t.Errorf("%v, %v", s, err)
		}
	})
}
