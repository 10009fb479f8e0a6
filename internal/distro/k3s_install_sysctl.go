package distro

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
)

const sysctlFile = "/etc/sysctl.d/90-pipeops-agent.conf"

// limit is a sysctl and the least that it should be.
type limit struct {
	name     string
	least    int64
	required bool // a remedy: without it the cluster does not work
}

// limits are what a node with some dozen pods uses up at the defaults of most systems, which then say "too many open
// files" (kubernetes issue 104303). The values are those that kind's documentation asks for.
func limits() []limit {
	return []limit{
		{name: "fs.inotify.max_user_watches", least: 524288},
		{name: "fs.inotify.max_user_instances", least: 512},
	}
}

// sysctlName is a sysctl in dotted form. Those of one network interface, whose name may have dots, are not needed.
func sysctlName() *regexp.Regexp { return regexp.MustCompile(`^[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)+$`) }

// addLimits adds those of the remedy sysctl.
func (k *k3sInstall) addLimits(r Remedy) error {
	for _, v := range r.Values {
		name, value, _ := strings.Cut(v, "=")
		least, err := strconv.ParseInt(value, 10, 64)
		if err != nil || !sysctlName().MatchString(name) {
			return r.invalid(v)
		}
		k.limits = append(k.limits, limit{name: name, least: least, required: true})
	}
	return nil
}

// sysctl raises the limits that are lower, now and for the next boot. Where a container may not, it leaves those that k3s
// works without for a while.
func (k *k3sInstall) sysctl() plan.Step {
	changes := []string{sysctlFile + " (inotify limits, where they are lower)"}
	for _, l := range k.limits {
		if l.required {
			changes = append(changes, fmt.Sprintf("%s = %d, where it is lower", l.name, l.least))
		}
	}
	return plan.Step{
		ID: "sysctl", Title: "Raise kernel limits", Changes: changes,
		Done: func(context.Context) (bool, error) {
			low, err := k.low()
			return len(low) == 0, err
		},
		Do: func(_ context.Context, r *plan.Recorder) error {
			low, err := k.low()
			if err != nil || len(low) == 0 {
				return err
			}
			text, err := k.sysctlText(low)
			if err != nil {
				return err
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

// sysctlText is the file with what is low now. What an earlier run has raised stays in it.
func (k *k3sInstall) sysctlText(low []limit) (string, error) {
	text, err := os.ReadFile(k.path(sysctlFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("cannot read %s: %w", sysctlFile, err)
	}
	set := map[string]int64{}
	for _, l := range low {
		set[l.name] = l.least
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		if _, again := set[name]; err == nil && !again && sysctlName().MatchString(name) {
			set[name] = n
		}
	}
	out := ownMarker + ".\n"
	for _, name := range slices.Sorted(maps.Keys(set)) {
		out += fmt.Sprintf("%s = %d\n", name, set[name])
	}
	return out, nil
}

// low returns the limits that are too low. One that cannot be raised is left out, or an error where it is required.
func (k *k3sInstall) low() ([]limit, error) {
	var low []limit
	for _, l := range k.limits {
		path := k.path(l.file())
		text, err := os.ReadFile(path)
		if err == nil {
			var now int64
			now, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			if err == nil && now >= l.least {
				continue
			}
		}
		if err == nil {
			err = unix.Access(path, unix.W_OK)
		}
		switch {
		case err == nil:
			low = append(low, l)
		case l.required:
			return nil, fmt.Errorf("cannot raise %s to %d: %w", l.name, l.least, err)
		}
	}
	return low, nil
}

func (l limit) file() string {
	return filepath.Join("/proc/sys", strings.ReplaceAll(l.name, ".", "/"))
}
