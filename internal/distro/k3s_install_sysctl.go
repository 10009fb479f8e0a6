package distro

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
)

const sysctlFile = "/etc/sysctl.d/90-pipeops-agent.conf"

// limit is a sysctl and the least that it should be.
type limit struct {
	name  string
	least int64
}

// limits are what a node with some dozen pods uses up at the defaults of most systems, which then say "too many open
// files" (kubernetes issue 104303). The values are those that kind's documentation asks for.
func limits() []limit {
	return []limit{
		{"fs.inotify.max_user_watches", 524288},
		{"fs.inotify.max_user_instances", 512},
	}
}

// sysctl raises the limits that are lower, now and for the next boot. Where a container may not, it leaves them: k3s works
// without for a while.
func (k *k3sInstall) sysctl() plan.Step {
	return plan.Step{
		ID: "sysctl", Title: "Raise kernel limits", Changes: []string{sysctlFile + " (inotify limits, where they are lower)"},
		Done: func(context.Context) (bool, error) { return len(k.low()) == 0, nil },
		Do: func(_ context.Context, r *plan.Recorder) error {
			low := k.low()
			if len(low) == 0 {
				return nil
			}
			text := ownMarker + ".\n"
			for _, l := range low {
				text += fmt.Sprintf("%s = %d\n", l.name, l.least)
			}
			if err := r.WriteFile(sysctlFile, 0o644, []byte(text)); err != nil {
				return err
			}
			for _, l := range low {
				if err := r.SetValue(l.file(), strconv.FormatInt(l.least, 10)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// low returns the limits that are too low and can be raised.
func (k *k3sInstall) low() []limit {
	var low []limit
	for _, l := range limits() {
		path := k.path(l.file())
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		now, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err == nil && now < l.least && unix.Access(path, unix.W_OK) == nil {
			low = append(low, l)
		}
	}
	return low
}

func (l limit) file() string {
	return filepath.Join("/proc/sys", strings.ReplaceAll(l.name, ".", "/"))
}
