package distro

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const (
	// packageLimit is for one run of a package manager, over a slow line and behind another run of it.
	packageLimit = 20 * time.Minute
	// packagesLimit is for all: an install that fails, a new list of packages, and another one.
	packagesLimit = 45 * time.Minute
)

// packageManager is one way to install software. To each argv the names are added.
type packageManager struct {
	name     string
	needs    []string // files that are there where it is the machine's own
	install  []string
	refresh  []string // gets the lists anew; nil where install does so
	has      []string // one name is added: ends with 0 where it is installed
	hasSays  string   // and says this first; "" is anything
	list     []string // prints the names of all that are installed
	remove   []string // refuses to remove what something else needs
	purge    []string // does so, and takes their settings too; nil where remove does
	snapshot bool     // what it installs is there from the next boot on
}

// packageManagers lists them; the first that is there is the machine's own: those of read-only systems come before the
// ones that such systems also have.
func packageManagers() []packageManager {
	rpm := func(m packageManager) packageManager {
		m.has = []string{"rpm", "-q", "--whatprovides"}
		m.list = []string{"rpm", "-qa", "--qf", `%{NAME}\n`}
		if m.remove == nil {
			m.remove = []string{"rpm", "-e"}
		}
		return m
	}
	return []packageManager{
		rpm(packageManager{
			name: "transactional-update", needs: []string{"/usr/sbin/transactional-update"}, snapshot: true,
			install: []string{"transactional-update", "--non-interactive", "--continue", "pkg", "install"},
			remove:  []string{"transactional-update", "--non-interactive", "--continue", "pkg", "remove"},
		}),
		rpm(packageManager{
			name: "rpm-ostree", needs: []string{"/usr/bin/rpm-ostree", "/run/ostree-booted"}, snapshot: true,
			install: []string{"rpm-ostree", "install", "--idempotent", "--assumeyes", "--allow-inactive"},
			remove:  []string{"rpm-ostree", "uninstall", "--idempotent", "--assumeyes"},
		}),
		{
			name: "apt-get", needs: []string{"/usr/bin/apt-get"},
			install: []string{"env", "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1", "apt-get", "install", "--yes", "--no-install-recommends",
				"--option=DPkg::Lock::Timeout=600", "--option=Dpkg::Options::=--force-confold"},
			refresh: []string{"apt-get", "update", "--option=DPkg::Lock::Timeout=600"},
			has:     []string{"dpkg-query", "--show", "--showformat=${db:Status-Abbrev}"}, hasSays: "ii",
			list:   []string{"dpkg-query", "--show", "--showformat=${binary:Package}\\n"},
			remove: []string{"dpkg", "--remove"}, purge: []string{"dpkg", "--purge"},
		},
		rpm(packageManager{name: "dnf", needs: []string{"/usr/bin/dnf"}, install: []string{"dnf", "install", "--assumeyes"}}),
		rpm(packageManager{name: "yum", needs: []string{"/usr/bin/yum"}, install: []string{"yum", "install", "--assumeyes"}}),
		rpm(packageManager{
			name: "zypper", needs: []string{"/usr/bin/zypper"},
			install: []string{"env", "ZYPP_LOCK_TIMEOUT=600", "zypper", "--non-interactive", "install", "--no-recommends"},
		}),
		{
			name: "apk", needs: []string{"/sbin/apk"}, install: []string{"apk", "add", "--wait", "600"}, refresh: []string{"apk", "update"},
			has: []string{"apk", "info", "--installed"}, list: []string{"apk", "info"}, remove: []string{"apk", "del"},
		},
		{
			name: "pacman", needs: []string{"/usr/bin/pacman"}, install: []string{"pacman", "--sync", "--needed", "--noconfirm"},
			refresh: []string{"pacman", "--sync", "--refresh"}, // without an upgrade, which is not ours to make
			has:     []string{"pacman", "--deptest"}, list: []string{"pacman", "--query", "--quiet"}, remove: []string{"pacman", "--remove", "--noconfirm"},
		},
	}
}

// manager returns the machine's own package manager.
func (k *k3sInstall) manager() (packageManager, error) {
	for _, m := range packageManagers() {
		if !slices.ContainsFunc(m.needs, func(f string) bool { _, err := os.Stat(k.path(f)); return err != nil }) {
			return m, nil
		}
	}
	return packageManager{}, reason.Newf(reason.StepFailed, "no package manager that is known was found").
		WithFix("install by hand: " + strings.Join(k.packageNames, ", "))
}

// packages installs packages by the machine's own package manager. Undone, only what came with them goes.
func (k *k3sInstall) packages(r Remedy) (plan.Step, error) {
	name := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+._:~^-]*$`) // no option
	for _, v := range r.Values {
		if !name.MatchString(v) {
			return plan.Step{}, r.invalid(v)
		}
	}
	k.packageNames = r.Values
	return plan.Step{
		ID: "packages", Title: "Install packages", Timeout: packagesLimit,
		Changes: []string{"packages " + strings.Join(r.Values, ", ") + ", with what they depend on"},
		Done: func(ctx context.Context) (bool, error) {
			m, err := k.manager()
			if err != nil {
				return false, nil // the step tells
			}
			missing, err := k.missing(ctx, m)
			if err != nil || len(missing) == 0 || !m.snapshot {
				return err == nil && len(missing) == 0, err
			}
			return k.packagesPending()
		},
		Do:   k.installPackages,
		Undo: func(context.Context) error { return atomicfile.Remove(k.pendingFile()) },
		Prove: func(ctx context.Context) error {
			m, err := k.manager()
			if err != nil || m.snapshot {
				return err
			}
			missing, err := k.missing(ctx, m)
			if err == nil && len(missing) > 0 {
				err = fmt.Errorf("%s says that it has installed them, but not there are %s", m.name, strings.Join(missing, ", "))
			}
			return err
		},
	}, nil
}

func (k *k3sInstall) installPackages(ctx context.Context, rec *plan.Recorder) error {
	m, err := k.manager()
	if err != nil {
		return err
	}
	missing, err := k.missing(ctx, m)
	if err != nil || len(missing) == 0 {
		return err
	}
	if k.FreePackages != nil {
		if err := k.FreePackages(ctx); err != nil {
			return err
		}
	}
	var before []string
	if !m.snapshot {
		if before, err = k.installed(ctx, m); err != nil {
			return err
		}
	}
	remove := m.remove
	if m.purge != nil && !slices.ContainsFunc(missing, func(p string) bool { return slices.Contains(before, p) }) {
		remove = m.purge // no settings of them were there
	}
	undo := plan.Reversal{Undo: slices.Concat(remove, missing), Lax: true} // something else may need them by now
	if !m.snapshot {
		undo.Check = append(slices.Clone(m.has), missing[0])
	}
	err = rec.Act(packageKind, strings.Join(missing, " "), undo, func() error {
		err := k.changeFor(ctx, packageLimit, slices.Concat(m.install, missing)...)
		if err != nil && m.refresh != nil && ctx.Err() == nil { // fresh machines have no lists, or old ones
			if refreshErr := k.changeFor(ctx, packageLimit, m.refresh...); refreshErr != nil {
				return errors.Join(err, refreshErr)
			}
			err = k.changeFor(ctx, packageLimit, slices.Concat(m.install, missing)...)
		}
		return err
	})
	if err != nil {
		return err
	}
	if m.snapshot {
		id, err := k.bootID()
		if err != nil {
			return err
		}
		return atomicfile.Write(k.pendingFile(), 0o600, []byte(id+"\n"+strings.Join(k.packageNames, "\n")+"\n"))
	}
	after, err := k.installed(ctx, m)
	if err != nil {
		return err
	}
	// what came with them can be named only now; undone first, it takes them with it
	added := slices.DeleteFunc(after, func(p string) bool { return slices.Contains(before, p) })
	if len(added) == 0 || slices.Equal(added, missing) {
		return nil
	}
	if m.purge != nil {
		remove = m.purge // none of them was known
	}
	undo.Undo = slices.Concat(remove, added)
	return rec.Act(packageKind, strings.Join(added, " "), undo, func() error { return nil })
}

// missing returns which of the packages are not installed.
func (k *k3sInstall) missing(ctx context.Context, m packageManager) ([]string, error) {
	var missing []string
	for _, p := range k.packageNames {
		out, err := k.run(ctx, append(slices.Clone(m.has), p)...)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil || !strings.HasPrefix(string(out), m.hasSays) {
			missing = append(missing, p)
		}
	}
	return missing, nil
}

// installed returns the names of all packages, sorted.
func (k *k3sInstall) installed(ctx context.Context, m packageManager) ([]string, error) {
	out, err := k.run(ctx, m.list...)
	all := strings.Fields(string(out))
	slices.Sort(all)
	return slices.Compact(all), err
}
