package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"unicode/utf8"
)

// spoiled returns the ways in which a file may be worse than expected. A nil content stands for a link to itself.
func spoiled(b []byte) map[string][]byte {
	return map[string][]byte{
		"truncated":    b[:len(b)/2],
		"empty":        {},
		"binary":       bytes.Repeat([]byte{0, 1, 2, 0xff, 0x1b, '[', '3', '1', 'm', '\n'}, 100),
		"not UTF-8":    append(bytes.ReplaceAll(b, []byte("="), []byte("=\xff\xfe\"\x1b]0;x\x07")), 0xc3, 0x28),
		"numbers":      []byte("99999999999999999999999 -1 1e400 18446744073709551615\n"),
		"itself":       nil,
		"long strings": append(append(slices.Clone(b), '\n'), bytes.Repeat([]byte("A"), 4096)...),
	}
}

// large writes a file of 10 MB, with lines that files of interest have, and one that does not end.
func large(t *testing.T) string {
	t.Helper()
	lines := []byte("27 1 8:1 / /var rw - ext4 /dev/sda1 rw\nID=x\nflags : lm\n1: POSIX ADVISORY WRITE 1 08:01:1 0 EOF\noverlay 1\nCONFIG_VETH=m\n")
	dir := t.TempDir()
	write(t, dir, "large", string(bytes.Repeat(lines, 5<<20/len(lines)))+string(bytes.Repeat([]byte("ID=x "), 1<<20)))
	return filepath.Join(dir, "large")
}

// TestBadInput spoils every file of two captured machines, one after the other.
func TestBadInput(t *testing.T) {
	for name, big := range map[string]string{"ubuntu2404-vm": large(t), "lab-nspawn": ""} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata/machines", name))); err != nil {
			t.Fatal(err)
		}
		for path, content := range systemFiles() {
			write(t, dir, path, content)
		}
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Name() == SnapshotFile {
				return err
			}
			good, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for how, bad := range spoiled(good) {
				rel, _ := filepath.Rel(dir, path)
				if err := replace(path, bad); err != nil {
					return err
				}
				checkReport(t, name+": "+rel+" "+how, load(t, dir))
			}
			if big != "" && !testing.Short() {
				if err := errors.Join(os.Remove(path), os.Link(big, path)); err != nil {
					return err
				}
				checkReport(t, name+": "+path+" of 10 MB", load(t, dir))
			}
			return replace(path, good)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// systemFiles are what the captured machines do not have but the probes would read.
func systemFiles() map[string]string {
	return map[string]string{
		"boot/config-6.8.0-49-generic":                    "CONFIG_VETH=m\n",
		"etc/docker/daemon.json":                          `{"data-root":"/srv/docker"}`,
		"lib/modules/6.8.0-49-generic/modules.builtin":    "kernel/fs/overlayfs/overlay.ko\n",
		"lib/modules/6.8.0-49-generic/modules.dep":        "kernel/net/bridge/br_netfilter.ko: kernel/net/bridge/bridge.ko\n",
		"proc/1/limits":                                   "Max open files            1024                 524288               files     \n",
		"proc/cmdline":                                    "root=/dev/vda1 cgroup_enable=memory\n",
		"proc/config.gz":                                  "not compressed",
		"proc/filesystems":                                "nodev\tselinuxfs\n",
		"proc/modules":                                    "overlay 1 0 - Live 0x0\n",
		"proc/swaps":                                      "Filename Type Size Used Priority\n/dev/zram0 partition 1024 0 100\n",
		"proc/sys/fs/inotify/max_user_instances":          "128\n",
		"proc/sys/kernel/keys/root_maxkeys":               "1000000\n",
		"proc/sys/kernel/pid_max":                         "32768\n",
		"proc/sys/vm/overcommit_memory":                   "0\n",
		"run/cloud-init/result.json":                      `{"v1":{"errors":[]}}`,
		"run/cloud-init/status.json":                      `{"v1":{"stage":null}}`,
		"sys/block/vda/queue/rotational":                  "0\n",
		"sys/block/vda/removable":                         "0\n",
		"sys/block/vda/vda1/partition":                    "1\n",
		"sys/class/dmi/id/board_vendor":                   "Oracle Corporation\n",
		"sys/class/dmi/id/chassis_asset_tag":              "OracleCloud.com\n",
		"sys/class/power_supply/BAT0/type":                "Battery\n",
		"sys/fs/selinux/enforce":                          "1\n",
		"sys/kernel/security/lsm":                         "lockdown,capability,selinux,bpf\n",
		"System/Library/CoreServices/SystemVersion.plist": "",
		"usr/lib/os-release":                              "ID=ubuntu\nID_LIKE=debian\n",
	}
}

func replace(path string, content []byte) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	if content == nil {
		return os.Symlink(filepath.Base(path), path)
	}
	return os.WriteFile(path, content, 0o644)
}

// checkReport collects the facts of a machine and looks at every text in them.
func checkReport(t *testing.T, name string, s *System) {
	t.Helper()
	f := Collect(t.Context(), s)
	for probe, err := range f.Errors {
		if bytes.Contains([]byte(err), []byte("cannot read this machine")) || bytes.Contains([]byte(err), []byte("in time")) {
			t.Errorf("%s: %s: %s", name, probe, err)
		}
	}
	b, err := json.Marshal(f.Report())
	if err != nil || !utf8.Valid(b) || !utf8.ValidString(f.Text()) {
		t.Errorf("%s: the report is no valid UTF-8 (%v)", name, err)
	}
	checkTexts(t, name, reflect.ValueOf(f))
	for _, e := range slices.Sorted(maps.Values(f.Errors)) {
		checkTexts(t, name, reflect.ValueOf(e))
	}
}

func checkTexts(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		if s := v.String(); clean(s) != s {
			t.Errorf("%s: %q is in the facts", name, s)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			checkTexts(t, name, v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			checkTexts(t, name, v.Index(i))
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			checkTexts(t, name, it.Key())
			checkTexts(t, name, it.Value())
		}
	}
}

// TestLinksInCircles: a folder below --root may hold links that lead nowhere, or everywhere.
func TestLinksInCircles(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "etc/os-release", "ID=debian\n")
	write(t, dir, "proc/self/mountinfo", "27 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
	for link, to := range map[string]string{
		"usr": "usr", "lib": "var", "var": "lib", "opt": "/", "sys": "/sys", "run": "../../..", "boot": "/boot/../boot/x", "etc/systemd": ".",
	} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	checkReport(t, "circles", load(t, dir))
	if at := load(t, dir).resolve("/usr/local/bin"); at != "/usr/local/bin" {
		t.Errorf("a circle leads to %q", at)
	}
}

// TestUnreadableFiles: what root alone may read is unknown to others.
func TestUnreadableFiles(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read everything")
	}
	dir := t.TempDir()
	for path, content := range systemFiles() {
		write(t, dir, path, content)
		if err := os.Chmod(filepath.Join(dir, path), 0); err != nil {
			t.Fatal(err)
		}
	}
	checkReport(t, "unreadable", load(t, dir))
}
