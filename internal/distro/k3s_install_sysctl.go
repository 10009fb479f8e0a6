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

// limit is a sysctl and the least that it should be; of several numbers in it, the last one.
type limit struct {
	name     string
	least    int64
	required bool // a remedy: without it the cluster does not work
}

// limits are what a node with some dozen pods uses up at the defaults of most systems, which then say "too many open
// files" (kubernetes issue 104303); the values are those that kind's documentation asks for. And what TCP may hold of one connection until
// it is acknowledged: the kernel's 4 MiB, with what they hold besides, carry 220 Mbit/s at 100 ms (make bench-tunnel-wan).
func limits() []limit {
	return []limit{
		{name: "fs.inotify.max_user_watches", least: 524288},
		{name: "fs.inotify.max_user_instances", least: 512},
		{name: "net.ipv4.tcp_wmem", least: 16 << 20},
	}
}

// raise returns what a sysctl that says now should say, in the kernel's own form, and whether it is lower.
func (l limit) raise(now string) (text string, low bool, err error) {
	fields := strings.Fields(now)
	if len(fields) == 0 {
		return "", false, fmt.Errorf("%s is empty", l.name)
	}
	last := len(fields) - 1
	n, err := strconv.ParseInt(fields[last], 10, 64)
	if err != nil {
		return "", false, fmt.Errorf("%s says %q: %w", l.name, now, err)
	}
	if n >= l.least {
		return now, false, nil
	}
	fields[last] = strconv.FormatInt(l.least, 10)
	return strings.Join(fields, "\t"), true, nil
}

// sysctlName is a sysctl in dotted form. Those of one network interface, whose name may have dots, are not needed.
func sysctlName() *regexp.Regexp { return regexp.MustCompile(`^[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)+$`) }

// sysctlNumbers is what the settings of ours say.
func sysctlNumbers() *regexp.Regexp { return regexp.MustCompile(`^-?[0-9]+( [0-9]+)*$`) }

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
	changes := []string{sysctlFile + " (limits of inotify and of TCP's send buffers, where they are lower)"}
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
			for _, name := range slices.Sorted(maps.Keys(low)) {
				if err := r.SetValue(sysctlPath(name), low[name]); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// sysctlText is the file with what is low now. What an earlier run has raised stays in it.
func (k *k3sInstall) sysctlText(low map[string]string) (string, error) {
	text, err := os.ReadFile(k.path(sysctlFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("cannot read %s: %w", sysctlFile, err)
	}
	set := maps.Clone(low)
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, "=")
		name, value = strings.TrimSpace(name), strings.Join(strings.Fields(value), " ")
		if _, again := set[name]; !again && sysctlName().MatchString(name) && sysctlNumbers().MatchString(value) {
			set[name] = value
		}
	}
	out := ownMarker + ".\n"
	for _, name := range slices.Sorted(maps.Keys(set)) {
		out += name + " = " + strings.ReplaceAll(set[name], "\t", " ") + "\n"
	}
	return out, nil
}

// low returns what the limits that are too low should say, by name. One that cannot be raised is left out, or an error where it is required.
func (k *k3sInstall) low() (map[string]string, error) {
	low := map[string]string{}
	for _, l := range k.limits {
		text, is, err := k.lower(l)
		switch {
		case err != nil && l.required:
			return nil, fmt.Errorf("cannot raise %s to %d: %w", l.name, l.least, err)
		case err == nil && is:
			low[l.name] = text
		}
	}
	return low, nil
}

// lower reports whether a limit is too low, and what it should say; the error is why that cannot be read, or not be written.
func (k *k3sInstall) lower(l limit) (text string, low bool, err error) {
	path := k.path(sysctlPath(l.name))
	now, err := os.ReadFile(path)
	if err != nil {
		return "", false, err
	}
	text, low, err = l.raise(strings.TrimSpace(string(now)))
	if err != nil || !low {
		return "", false, err
	}
	return text, true, unix.Access(path, unix.W_OK)
}

func sysctlPath(name string) string {
	return filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
}
