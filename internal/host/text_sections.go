package host

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/console"
)

// section is a group of facts in the view for people.
type section struct {
	title string
	rows  []factRow
}

type factRow struct{ label, text string }

// add adds a row, unless it has nothing to say.
func (s *section) add(label, text string) {
	if text != "" {
		s.rows = append(s.rows, factRow{label, text})
	}
}

// sections groups the facts that matter. Those that every machine has are shown as unknown if they are; others only if
// there is something to tell.
func (f Facts) sections(p *console.Page) []section {
	system := section{title: "System"}
	system.add("Runs on", f.platform())
	system.add("Cloud", cloudTitle(f.Cloud.Name))
	system.add("Name", f.Identity.text())
	system.add("Init", f.Init.text())
	system.add("Packages", f.Packages.text())
	system.add("Clock", f.Clock.text())
	system.add("Read-only", f.Roots.text())
	if f.Boot.RebootNeeded.Value {
		system.add("Reboot", "the package manager asks for one")
	}
	if uid, ok := f.UID.Get(); ok && uid != 0 {
		system.add("Seen by", fmt.Sprintf("user %d; some facts are for root only", uid))
	}

	size := section{title: "CPU and memory"}
	size.add("CPUs", f.CPU.text(f.Arch))
	size.add("Memory", f.Memory.text())
	size.add("Swap", f.swap())

	disk := section{title: "Disk"}
	for i, d := range f.Disk {
		same := func(other Disk) bool { return other.Statfs == d.Statfs && other.Device == d.Device }
		if slices.ContainsFunc(f.Disk[:i], same) { // told already
			continue
		}
		var paths []string
		for _, other := range f.Disk[i:] {
			if same(other) {
				paths = append(paths, other.Path)
			}
		}
		disk.add("Free", d.text()+": "+strings.Join(paths, ", "))
	}

	for _, d := range f.Volumes {
		same := func(other Disk) bool { return other.Statfs == d.Statfs && other.Device == d.Device }
		if !slices.ContainsFunc(f.Disk, same) {
			disk.add("Also free", d.text()+": "+d.Path)
		}
	}

	most := func(n int) int { return p.Most(1<<20, n) }
	clusters := section{title: "Containers and clusters"}
	clusters.add("Clusters", f.clusters())
	clusters.add("Docker", f.Docker.text())
	clusters.add("Runtimes", f.runtimes())

	neighbours := section{title: "Neighbours"}
	for i, n := range f.Neighbours {
		if i == most(maxShown) {
			neighbours.add("", fmt.Sprintf("and %d more", len(f.Neighbours)-i))
			break
		}
		neighbours.add(n.Kind, n.Name+before(" (", n.Evidence)+strings.Repeat(")", min(len(n.Evidence), 1)))
	}

	failed := section{title: "Could not be seen"}
	for _, name := range slices.Sorted(maps.Keys(f.Errors)) {
		failed.add(name, f.Errors[name])
	}
	return []section{system, size, disk, f.network(most), clusters, f.kernel(most), neighbours, failed}
}

func (i Identity) text() string {
	if ok, known := i.NodeName.Get(); known && !ok {
		return i.Hostname + ", which cannot name a node"
	}
	return i.Hostname
}

func (i Init) text() string {
	if i.OpenRC.Value && i.Name != "systemd" {
		return "OpenRC"
	}
	if ok, known := i.Systemd.Get(); known && !ok && i.Name != "" {
		return i.Name + ", no systemd"
	}
	return or(i.Name, unknownText)
}

func (k Packages) text() string {
	var parts []string
	if k.Manager != "" {
		parts = append(parts, k.Manager)
	}
	if k.Busy.Value {
		parts = append(parts, "busy"+before(": ", k.BusyBy))
	}
	if k.CloudInit == "running" || k.CloudInit == "error" {
		parts = append(parts, "cloud-init: "+k.CloudInit)
	}
	return strings.Join(parts, ", ")
}

func (c Clock) text() string {
	var parts []string
	if ok, known := c.Synchronized.Get(); known {
		parts = append(parts, map[bool]string{true: "synchronized", false: "not synchronized"}[ok]+before(" by ", c.Service))
	}
	if ok, known := c.RTC.Get(); known && !ok {
		parts = append(parts, "no battery behind it")
	}
	if year, known := c.Year.Get(); known && !c.Synchronized.Value {
		parts = append(parts, "it says "+strconv.Itoa(year))
	}
	return strings.Join(parts, ", ")
}

// text names what cannot be written to.
func (r Roots) text() string {
	var paths []string
	for _, p := range slices.Sorted(maps.Keys(r.ReadOnly)) {
		if r.ReadOnly[p] {
			paths = append(paths, p)
		}
	}
	s := few(paths, maxShown)
	if r.Immutable != "" {
		s = strings.TrimPrefix(s+", ", ", ") + "the system changes only as a whole (" + r.Immutable + ")"
	}
	return s
}

func (c CPU) text(a Arch) string {
	n, ok := c.Count.Get()
	if !ok {
		return unknownText
	}
	s := strconv.Itoa(n)
	if q, ok := c.Quota.Get(); ok {
		s += fmt.Sprintf(", limited to %.4g by the cgroup", q)
	}
	if level, ok := a.Level.Get(); ok {
		s += fmt.Sprintf(", x86-64-v%d", level)
	}
	if size, ok := a.PageSize.Get(); ok && size != 4096 {
		s += fmt.Sprintf(", pages of %d KiB", size>>10)
	}
	return s
}

func (m Memory) text() string {
	total, ok := m.Total.Get()
	if !ok {
		return unknownText
	}
	s := Bytes(total)
	if a, ok := m.Available.Get(); ok {
		s += ", " + Bytes(a) + " available"
	}
	if l, ok := m.Limit.Get(); ok {
		s += ", limited to " + Bytes(l) + " by the cgroup"
	}
	return s
}

func (f Facts) swap() string {
	n := f.Swap.Total
	if !n.OK {
		n = f.Memory.Swap
	}
	switch {
	case !n.OK || n.Value == 0:
		return ""
	case f.Swap.Zram.Value:
		return Bytes(n.Value) + " of compressed memory"
	}
	return Bytes(n.Value)
}

func (d Disk) text() string {
	free, ok := d.Free.Get()
	if !ok {
		return unknownText
	}
	s := Bytes(free)
	if t, ok := d.Total.Get(); ok {
		s += " of " + Bytes(t)
	}
	var about []string
	if d.Type != "" {
		about = append(about, d.Type)
	}
	if d.Device != "" {
		about = append(about, d.Device)
	}
	if d.Removable.Value {
		about = append(about, "a card or a stick")
	}
	if d.Rotational.Value {
		about = append(about, "a spinning disk")
	}
	if d.ReadOnly.Value {
		about = append(about, "read-only")
	}
	if len(about) > 0 {
		s += " (" + strings.Join(about, ", ") + ")"
	}
	return s
}

// Place is the directory that was measured, for people.
func (d Disk) Place() string { return or(d.At, d.Path) }

func (f Facts) clusters() string {
	if f.Clusters == nil {
		return unknownText
	}
	var all []string
	for _, c := range f.Clusters {
		s := strings.TrimSpace(c.Name+" "+c.Cluster) + " " + c.State.text()
		if c.Ours.Value {
			s += " (installed by pipeops-agent)"
		}
		all = append(all, s)
	}
	return or(strings.Join(all, ", "), "none")
}

// text says how much of something is there.
func (s ClusterState) text() string {
	switch s {
	case Debris:
		return "has left remains"
	case Doubt:
		return "is installed"
	case Unfinished:
		return "is unfinished"
	case Gone:
		return "leads to a cluster that is gone"
	}
	return string(s)
}

func (d Docker) text() string {
	up, ok := d.Reachable.Get()
	switch {
	case !ok:
		return unknownText
	case !up && d.Denied.Value:
		return "not to be asked by this user"
	case !up:
		return "not running"
	}
	parts := []string{strings.TrimSpace("running " + d.Server)}
	for _, is := range []struct {
		known Known[bool]
		text  string
	}{{d.Rootless, "rootless"}, {d.Desktop, "Docker Desktop"}, {d.Outside, "outside this container"}, {d.Swarm, "in a swarm"}} {
		if is.known.Value {
			parts = append(parts, is.text)
		}
	}
	return strings.Join(parts, ", ")
}

// runtimes tells of those that have no row of their own.
func (f Facts) runtimes() string {
	var all []string
	for _, r := range f.Runtimes {
		if r.Name != "docker" {
			all = append(all, r.Name+" "+r.State.text())
		}
	}
	return few(all, maxShown)
}
