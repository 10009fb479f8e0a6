package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// LeaveRootGroup moves all processes of a container's first control group into one below it. With cgroup v2 a group that has
// processes cannot give controllers to groups below, as the kubelet wants it; only the machine's own root group may, which a
// container with a namespace of its own does not see (cgroups(7), "no internal processes"). k3s does this itself where it is
// the first process. Elsewhere nothing is done. Root is where /proc and /sys are.
func LeaveRootGroup(root string) error {
	own, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil || strings.TrimSpace(string(own)) != "0::/" { // cgroup v1, or no group of the container's own
		return nil
	}
	top := filepath.Join(root, "sys/fs/cgroup")
	if _, err := os.Stat(filepath.Join(top, "cgroup.type")); err != nil { // which the machine's root group does not have
		return nil
	}
	below := filepath.Join(top, "init")
	if err := os.Mkdir(below, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot make a control group: %w", err)
	}
	for range 10 { // what is moved may just be starting another
		pids, err := os.ReadFile(filepath.Join(top, "cgroup.procs"))
		if err != nil {
			return fmt.Errorf("cannot list the first control group: %w", err)
		}
		if strings.TrimSpace(string(pids)) == "" {
			return nil
		}
		for pid := range strings.FieldsSeq(string(pids)) {
			err := os.WriteFile(filepath.Join(below, "cgroup.procs"), []byte(pid), 0o644)
			if err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("cannot move process %s into a control group: %w", pid, err)
			}
		}
	}
	return errors.New("cannot empty the first control group: new processes keep coming")
}
