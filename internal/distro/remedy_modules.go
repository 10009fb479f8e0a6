package distro

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
)

const modulesFile = "/etc/modules-load.d/pipeops-agent.conf"

// modules loads modules of the kernel, now and at every boot. Undone, only those are unloaded that were loaded here.
func (k *k3sInstall) modules(r Remedy) (plan.Step, error) {
	name := regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]*$`)
	for _, v := range r.Values {
		if !name.MatchString(v) {
			return plan.Step{}, r.invalid(v)
		}
	}
	content := []byte(ownMarker + ".\n" + strings.Join(r.Values, "\n") + "\n")
	return plan.Step{
		ID: "modules", Title: "Load kernel modules",
		Changes: []string{modulesFile, "modprobe " + strings.Join(r.Values, ", ")},
		Done: func(context.Context) (bool, error) {
			same, err := sameFile(k.path(modulesFile), 0o644, content)
			if err != nil || !same {
				return false, err
			}
			for _, v := range r.Values {
				if there, err := k.moduleThere(v); err != nil || !there {
					return false, err
				}
			}
			return true, nil
		},
		Do: func(ctx context.Context, rec *plan.Recorder) error {
			for _, v := range r.Values {
				if there, err := k.moduleThere(v); err != nil {
					return err
				} else if there {
					continue
				}
				unload := plan.Reversal{
					Check: []string{"grep", "-q", "^" + moduleID(v) + " ", "/proc/modules"},
					Undo:  []string{"modprobe", "-r", v}, Lax: true,
				}
				err := rec.Act("module", v, unload, func() error { return k.change(ctx, "modprobe", v) })
				if err != nil {
					return err
				}
			}
			return rec.WriteFile(modulesFile, 0o644, content)
		},
		Prove: func(context.Context) error {
			for _, v := range r.Values {
				if there, err := k.moduleThere(v); err != nil || !there {
					return errors.Join(fmt.Errorf("the module %s is not there after modprobe", v), err)
				}
			}
			return nil
		},
	}, nil
}

// moduleID is the name as the kernel writes it.
func moduleID(name string) string { return strings.ReplaceAll(name, "-", "_") }

// moduleThere reports whether the module is loaded, or part of the kernel.
func (k *k3sInstall) moduleThere(name string) (bool, error) {
	if _, err := os.Stat(k.path(filepath.Join("/sys/module", moduleID(name)))); err == nil {
		return true, nil
	}
	release, err := os.ReadFile(k.path("/proc/sys/kernel/osrelease"))
	if err != nil {
		return false, err
	}
	for _, dir := range []string{"/lib/modules", "/usr/lib/modules"} {
		list, err := os.ReadFile(k.path(filepath.Join(dir, strings.TrimSpace(string(release)), "modules.builtin")))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		for line := range strings.Lines(string(list)) { // kernel/fs/overlayfs/overlay.ko
			file, _, _ := strings.Cut(filepath.Base(strings.TrimSpace(line)), ".")
			if moduleID(file) == moduleID(name) {
				return true, nil
			}
		}
	}
	return false, nil
}
