package supervise

import (
	"os"
	"path/filepath"
	"testing"
)

// TestRootGroupIsLeftWhereItMustBe looks at what is decided; that processes move only a kernel can show.
func TestRootGroupIsLeftWhereItMustBe(t *testing.T) {
	for name, tt := range map[string]struct {
		own   string
		typed bool
		procs string
		want  bool // that the group below is made
	}{
		"cgroup v1":                  {"4:memory:/docker/abc\n", false, "1\n", false},
		"a group below":              {"0::/user.slice\n", true, "1\n", false},
		"the machine's root":         {"0::/\n", false, "1\n", false},
		"a container's, and empty":   {"0::/\n", true, "\n", true},
		"a container's, which stays": {"0::/\n", true, "1\n", true},
	} {
		root := t.TempDir()
		files := map[string]string{"proc/self/cgroup": tt.own, "sys/fs/cgroup/cgroup.procs": tt.procs}
		if tt.typed {
			files["sys/fs/cgroup/cgroup.type"] = "domain\n"
		}
		for path, text := range files {
			if err := os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		err := LeaveRootGroup(root)
		if stays := tt.want && tt.procs == "1\n"; (err != nil) != stays { // a file does not lose a line as the kernel's does
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(root, "sys/fs/cgroup/init")); (err == nil) != tt.want {
			t.Errorf("%s: made: %v", name, err)
		}
	}
}
