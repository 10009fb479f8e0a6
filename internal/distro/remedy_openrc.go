package distro

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
)

const openrcConf = "/etc/rc.conf"

// openrcCgroups has OpenRC mount the unified hierarchy of control groups, now and at every boot.
func (k *k3sInstall) openrcCgroups(Remedy) (plan.Step, error) {
	return plan.Step{
		ID: "openrc-cgroups", Title: "Have OpenRC mount the control groups",
		Changes: []string{openrcConf + `: rc_cgroup_mode="unified"`, "service cgroups (enabled, started)"},
		Done: func(context.Context) (bool, error) {
			text, err := os.ReadFile(k.path(openrcConf))
			if err != nil || unifiedMode(string(text)) != string(text) {
				return false, err
			}
			enabled, err := k.cgroupsEnabled()
			return enabled && k.cgroupsMounted(), err
		},
		Do: func(ctx context.Context, rec *plan.Recorder) error {
			text, err := os.ReadFile(k.path(openrcConf))
			if err != nil {
				return err
			}
			st, err := os.Stat(k.path(openrcConf))
			if err != nil {
				return err
			}
			if err := rec.WriteFile(openrcConf, st.Mode().Perm(), []byte(unifiedMode(string(text)))); err != nil {
				return err
			}
			if enabled, err := k.cgroupsEnabled(); err != nil {
				return err
			} else if !enabled {
				off := plan.Reversal{Undo: []string{"rc-update", "del", "cgroups", "boot"}}
				err := rec.Act("openrc-enabled", "cgroups", off, func() error { return k.change(ctx, "rc-update", "add", "cgroups", "boot") })
				if err != nil {
					return err
				}
			}
			if k.cgroupsMounted() {
				return nil
			}
			stop := plan.Reversal{Undo: []string{"rc-service", "cgroups", "stop"}, Lax: true}
			return rec.Act("openrc-started", "cgroups", stop, func() error { return k.change(ctx, "rc-service", "cgroups", "start") })
		},
	}, nil
}

// unifiedMode sets rc_cgroup_mode. The last line that sets it counts, as in the shell that reads the file.
func unifiedMode(text string) string {
	const line = `rc_cgroup_mode="unified"`
	set := regexp.MustCompile(`(?m)^[ \t]*rc_cgroup_mode=.*$`)
	if all := set.FindAllString(text, -1); len(all) > 0 {
		if all[len(all)-1] == line {
			return text
		}
		return set.ReplaceAllString(text, line)
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + line + "\n"
}

// cgroupsEnabled reports whether the service starts in any runlevel.
func (k *k3sInstall) cgroupsEnabled() (bool, error) {
	links, err := filepath.Glob(k.path("/etc/runlevels/*/cgroups"))
	return len(links) > 0, err
}

// cgroupsMounted reports whether the unified hierarchy is there.
func (k *k3sInstall) cgroupsMounted() bool {
	_, err := os.Stat(k.path("/sys/fs/cgroup/cgroup.controllers"))
	return err == nil
}
