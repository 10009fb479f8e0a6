package host

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVolumes(t *testing.T) {
	many := ""
	for i := range 2 * maxVolumes {
		many += fmt.Sprintf("%d 1 8:%d / /mnt/%02d rw - ext4 /dev/sd%d rw\n", i+40, i+40, i, i)
	}
	for name, c := range map[string]struct{ table, want string }{
		"none":              {"", ""},
		"three types":       {"30 1 8:1 / /srv rw - xfs /dev/sdb rw\n31 1 8:2 / /data rw - ext4 /dev/sdc rw\n32 1 0:40 / /home rw - btrfs /dev/sdd rw\n", "/data /home /srv"},
		"other types":       {"30 1 0:9 / /srv rw - nfs4 10.0.0.9:/srv rw\n31 1 0:8 / /mem rw - tmpfs tmpfs rw\n32 1 8:3 / /win rw - vfat /dev/sdb1 rw\n", ""},
		"read-only":         {"30 1 8:1 / /srv ro - xfs /dev/sdb rw\n31 1 8:2 / /data rw - ext4 /dev/sdc ro\n", ""},
		"no programs":       {"30 1 8:1 / /srv rw,noexec - xfs /dev/sdb rw\n", ""},
		"the disk of /":     {"30 1 254:1 /home /home rw - ext4 /dev/vda1 rw\n31 1 0:33 /x /x rw - ext4 /dev/vda1 rw\n", ""},
		"twice":             {"30 1 8:1 / /srv rw - xfs /dev/sdb rw\n31 1 8:1 /a /data rw - xfs /dev/sdb rw\n32 1 0:41 /s /sub rw - xfs /dev/sdb rw\n", "/data"},
		"the system's":      {"30 1 8:1 / /boot rw - ext4 /dev/sdb1 rw\n31 1 8:2 / /var/lib/docker rw - ext4 /dev/sdb2 rw\n32 1 8:3 / /usr/local rw - ext4 /dev/sdb3 rw\n33 1 8:4 / /bootleg rw - ext4 /dev/sdb4 rw\n", "/bootleg"},
		"below another":     {"30 1 8:1 / /srv rw - xfs /dev/sdb rw\n31 1 0:9 / /srv rw - tmpfs tmpfs rw\n", ""},
		"not measured":      {"30 1 8:1 / /unknown rw - xfs /dev/sdb rw\n", ""},
		"too many":          {many, strings.TrimSpace(strings.Repeat("x ", maxVolumes))},
		"a name with lines": {"30 1 8:1 / /a\\012b rw - xfs /dev/sdb rw\n", ""},
	} {
		dir := t.TempDir()
		write(t, dir, "proc/self/mountinfo", "28 1 254:1 / / rw - ext4 /dev/vda1 rw\n"+c.table)
		statfs := ""
		for _, p := range []string{"/srv", "/data", "/home", "/mem", "/win", "/x", "/sub", "/boot", "/var/lib/docker", "/usr/local", "/bootleg"} {
			statfs += fmt.Sprintf(`%q:{"free_bytes":1},`, p)
		}
		for i := range 2 * maxVolumes {
			statfs += fmt.Sprintf(`"/mnt/%02d":{"free_bytes":1},`, i)
		}
		write(t, dir, SnapshotFile, `{"statfs":{`+statfs+`"/":{"free_bytes":2}}}`)
		f := Collect(t.Context(), load(t, dir))
		var got []string
		for _, d := range f.Volumes {
			if d.At != d.Path || d.Free != Is(uint64(1)) || d.Type == "" {
				t.Errorf("%s: %+v", name, d)
			}
			got = append(got, d.Path)
		}
		if name == "too many" {
			for i := range got {
				got[i] = "x"
			}
		}
		if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if f.Volumes == nil {
			t.Errorf("%s: unknown", name)
		}
	}
	if f := Collect(t.Context(), load(t, t.TempDir())); f.Volumes != nil || f.Errors["volumes"] != "" {
		t.Errorf("without a mount table: %+v, %s", f.Volumes, f.Errors["volumes"])
	}
}

// TestDataDirIsMeasured: where the user wants the data is measured as well.
func TestDataDirIsMeasured(t *testing.T) {
	s := load(t, "testdata/machines/nfs-data-dir")
	s.DataDir = ClusterDir + "/k3s"
	if d, ok := Collect(t.Context(), s).DiskOf(s.DataDir); !ok || d.Type != "nfs4" {
		t.Errorf("%+v", d)
	}
}

// TestLiveVolumes: whatever this machine has, it is told of without an error.
func TestLiveVolumes(t *testing.T) {
	part, err := volumesProbe().Run(t.Context(), Live())
	if err != nil {
		t.Skip("the probe cannot see all file systems here:", err)
	}
	var f Facts
	if part != nil {
		part(&f)
	}
	for _, d := range f.Volumes {
		if d.Path == "" || d.Path == "/" || !d.Free.OK {
			t.Errorf("%+v", d)
		}
	}
}
