package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
)

// Packages is how software is installed, and whether somebody is doing it now.
type Packages struct {
	Manager   string      `json:"manager"`    // "apt", "dnf", "yum", "zypper", "apk", "pacman", "transactional-update", "rpm-ostree", "none"; "" is unknown
	Busy      Known[bool] `json:"busy"`       // whether a lock of it is held
	BusyBy    string      `json:"busy_by"`    // name of the holder; "" is unknown
	CloudInit string      `json:"cloud_init"` // "running", "done", "error", "disabled", "absent"; "" is unknown

	BusyPID        int         `json:"busy_pid,omitzero"`         // process id of the holder; 0 is unknown
	UnderCloudInit Known[bool] `json:"under_cloud_init,omitzero"` // whether cloud-init has started this process
}

func packagesProbe() Probe {
	return Probe{Name: "packages", Run: func(ctx context.Context, s *System) (Part, error) {
		p, err := ReadPackages(ctx, s)
		return func(f *Facts) { f.Packages = p }, err
	}}
}

// ReadPackages reads this fact alone, so that an install can wait until nobody else changes the machine.
func ReadPackages(ctx context.Context, s *System) (Packages, error) {
	p := s.Snapshot().Packages
	o, _ := readOS(s) // its own probe tells of the error
	if p.Manager == "" {
		p.Manager = readManager(s, o)
	}
	if p.CloudInit == "" {
		p.CloudInit = readCloudInit(s)
	}
	if !s.Live() {
		return p, nil
	}
	if p.CloudInit == "running" {
		p.UnderCloudInit = Is(underCloudInit(s.ReadFile, "self"))
	}
	var err error
	p.Busy, p.BusyBy, p.BusyPID, err = readBusy(ctx, s, p.Manager)
	return p, err
}

// manager is a package manager: the program that must be there, and the families whose own it is.
type manager struct {
	name, command string
	families      []string
	locks         []string // files that it locks while it works
	pids          []string // files in which it leaves its process id
}

// managers are in the order of preference within a family.
func managers() []manager {
	rpm := []string{"/var/lib/rpm/.rpm.lock", "/usr/lib/sysimage/rpm/.rpm.lock"}
	return []manager{
		{name: "apt", command: "apt-get", families: []string{"debian"},
			locks: []string{"/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock", "/var/cache/apt/archives/lock"}},
		{name: "dnf", command: "dnf", families: []string{"rhel"}, locks: rpm,
			pids: []string{"/var/cache/dnf/metadata_lock.pid", "/var/cache/dnf/download_lock.pid", "/var/lib/dnf/rpmdb_lock.pid"}},
		{name: "yum", command: "yum", families: []string{"rhel"}, locks: rpm, pids: []string{"/run/yum.pid"}},
		{name: "zypper", command: "zypper", families: []string{"suse"}, locks: rpm, pids: []string{"/run/zypp.pid"}},
		{name: "apk", command: "apk", families: []string{"alpine"}, locks: []string{"/lib/apk/db/lock", "/usr/lib/apk/db/lock"}},
		{name: "pacman", command: "pacman", families: []string{"arch"}}, // see readBusy
		{name: "transactional-update", command: "transactional-update", locks: rpm, pids: []string{"/run/zypp.pid"}},
		{name: "rpm-ostree", command: "rpm-ostree", locks: []string{"/sysroot/ostree/lock", "/ostree/lock"}},
	}
}

// readManager judges by the programs, since a family's own may be missing, and by the family, since apt and dnf can be
// installed on systems of the other.
func readManager(s *System, o OS) string {
	table, _ := readMounts(s)
	root, _ := table.holding("/")
	switch immutable(s, o, root.ReadOnly) {
	case "ostree":
		if hasCommand(s, "rpm-ostree") {
			return "rpm-ostree"
		}
	case "transactional":
		if hasCommand(s, "transactional-update") {
			return "transactional-update"
		}
	case "flatcar":
		return "none"
	}
	others := []string{}
	for _, m := range managers() {
		switch {
		case len(m.families) == 0 || !hasCommand(s, m.command):
		case slices.Contains(m.families, o.Family):
			return m.name
		default:
			others = append(others, m.name)
		}
	}
	switch {
	case len(others) == 1 || len(others) == 2 && others[0] == "dnf" && others[1] == "yum":
		return others[0]
	case len(others) == 0 && s.Live():
		return "none"
	}
	return ""
}

// readBusy looks who holds a lock of the package manager. It does not try to take one: for that moment it would itself
// be in the way.
func readBusy(ctx context.Context, s *System, name string) (busy Known[bool], by string, pid int, err error) {
	i := slices.IndexFunc(managers(), func(m manager) bool { return m.name == name })
	if i < 0 {
		return Known[bool]{}, "", 0, nil
	}
	m := managers()[i]
	if name == "pacman" { // its lock is that the file is there
		return s.Exists("/var/lib/pacman/db.lck"), "", 0, nil
	}
	for _, path := range m.pids {
		if pid := s.number(path); pid.OK && pid.Value > 0 && pid.Value <= 1<<22 {
			// whoever was killed leaves the file behind, and another may have its number now
			if by := commOf(int(pid.Value)); isInstaller(by) {
				return Is(true), by, int(pid.Value), nil
			}
		}
	}
	return lockHolder(ctx, s, m.locks)
}

// lockHolder names who holds a lock on one of the files of this machine.
func lockHolder(ctx context.Context, s *System, paths []string) (held Known[bool], by string, pid int, err error) {
	b, err := s.ReadFile("/proc/locks")
	switch {
	case errors.Is(err, fs.ErrNotExist): // a kernel that does not tell
		return Known[bool]{}, "", 0, nil
	case err != nil:
		return Known[bool]{}, "", 0, fmt.Errorf("cannot read who holds locks: %w", err)
	}
	locks, sure := ParseLocks(b), true
	for _, path := range paths {
		if ctx.Err() != nil {
			return Known[bool]{}, "", 0, fmt.Errorf("cannot find who holds locks: %w", ctx.Err())
		}
		file, ok := liveInode(path)
		if !ok {
			continue
		}
		for _, l := range locks {
			if l.inode != file.inode {
				continue
			}
			holds := Is(true)
			if l.device != file.device {
				holds = liveHolds(l.pid, path)
			}
			if holds.Value {
				return holds, commOf(l.pid), max(l.pid, 0), nil
			}
			sure = sure && holds.OK
		}
	}
	return Known[bool]{OK: sure}, "", 0, nil
}

// Holder names for people who holds the lock: "apt-get (process 812)".
func (k Packages) Holder() string {
	name := k.BusyBy
	if name == "" {
		name = "somebody"
	}
	if k.BusyPID > 0 {
		name += " (process " + strconv.Itoa(k.BusyPID) + ")"
	}
	return name
}
