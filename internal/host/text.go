package host

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// maxPortsShown bounds the ports in the view for people.
const maxPortsShown = 12

// Text returns the facts that matter most, for people: aligned lines, each ended by a newline.
func (f Facts) Text() string {
	var out strings.Builder
	row := func(label, format string, args ...any) {
		fmt.Fprintf(&out, "%-10s%s\n", label, fmt.Sprintf(format, args...))
	}
	row("System", "%s, %s, kernel %s", or(f.OS.Name, or(f.OS.ID, "unknown system")), or(f.Arch.Name, "unknown architecture"), or(f.Kernel.Release, "unknown"))
	row("Runs on", "%s", f.platform())
	row("Init", "%s, cgroup %s", or(f.Init.Name, "unknown"), or(f.Cgroup.Version, "unknown"))
	row("CPU", "%s", f.CPU.text())
	row("Memory", "%s", f.Memory.text())
	for i, d := range f.Disk {
		paths := []string{d.Path}
		for _, same := range f.Disk[i+1:] {
			if same.At != "" && same.Statfs == d.Statfs {
				paths = append(paths, same.Path)
			}
		}
		if i == 0 || d.Statfs != f.Disk[i-1].Statfs {
			row("Disk", "%s: %s", strings.Join(paths, ", "), d.text())
		}
	}
	row("Ports", "%s", f.ports())
	row("Clusters", "%s", f.clusters())
	row("Docker", "%s", f.Docker.text())
	if f.Cloud.Name != "" && f.Cloud.Name != "none" {
		row("Cloud", "%s", f.Cloud.Name)
	}
	if text := f.Firewall.text(); text != "" {
		row("Firewall", "%s", text)
	}
	if text := neighbours(f.Neighbours); text != "" {
		row("Beside it", "%s", text)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Errors)) {
		row("Unknown", "%s: %s", name, f.Errors[name])
	}
	return out.String()
}

func (f Facts) platform() string {
	if f.Virtualization.Stack == nil {
		return "unknown"
	}
	var layers []string
	for _, l := range f.Virtualization.Stack {
		switch {
		case l.Name == "other":
			layers = append(layers, "a "+map[string]string{LayerVM: "virtual machine", LayerContainer: "container"}[l.Kind])
		case l.Kind == LayerContainer:
			layers = append(layers, l.Name+" container")
		default:
			layers = append(layers, l.Name)
		}
	}
	if len(layers) == 0 {
		layers = []string{"bare metal"}
	}
	s := strings.Join(layers, " in ")
	if f.Virtualization.UserNamespace.Value {
		s += ", with shifted user ids"
	}
	if m := f.Hardware.Model; m != "" {
		s += " (" + m + ")"
	}
	return s
}

func (c CPU) text() string {
	n, ok := c.Count.Get()
	if !ok {
		return "unknown"
	}
	s := strconv.Itoa(n)
	if q, ok := c.Quota.Get(); ok {
		s += fmt.Sprintf(", limited to %.4g by the cgroup", q)
	}
	return s
}

func (m Memory) text() string {
	total, ok := m.Total.Get()
	if !ok {
		return "unknown"
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

func (d Disk) text() string {
	free, ok := d.Free.Get()
	if !ok {
		return "unknown"
	}
	s := Bytes(free) + " free"
	if t, ok := d.Total.Get(); ok {
		s += " of " + Bytes(t)
	}
	if d.Type != "" {
		s += " (" + d.Type + ")"
	}
	if d.ReadOnly.Value {
		s += ", read-only"
	}
	return s
}

// Place is the directory that was measured, for people.
func (d Disk) Place() string { return or(d.At, d.Path) }

func (f Facts) ports() string {
	if f.Listening == nil {
		return "unknown"
	}
	var all []string
	for _, l := range f.Listening {
		if l.Proto == "tcp" {
			all = append(all, strings.TrimSpace(fmt.Sprintf("%d %s", l.Port, l.Owner)))
		}
	}
	switch n := len(all); {
	case n == 0:
		return "none in use"
	case n > maxPortsShown:
		return fmt.Sprintf("%s and %d more", strings.Join(all[:maxPortsShown], ", "), n-maxPortsShown)
	}
	return strings.Join(all, ", ")
}

func (f Facts) clusters() string {
	if f.Clusters == nil {
		return "unknown"
	}
	var all []string
	for _, c := range f.Clusters {
		s := c.Name + " " + string(c.State)
		if c.Ours.Value {
			s += " (installed by pipeops-agent)"
		}
		all = append(all, s)
	}
	return or(strings.Join(all, ", "), "none")
}

func (d Docker) text() string {
	up, ok := d.Reachable.Get()
	switch {
	case !ok:
		return "unknown"
	case !up:
		return "not running"
	}
	return strings.TrimSpace("running " + d.Server)
}

func (f Firewall) text() string {
	var all []string
	if f.UFW.Value {
		all = append(all, "ufw")
	}
	if f.Firewalld.Value {
		all = append(all, "firewalld")
	}
	if len(f.Rejects) > 0 {
		all = append(all, "rules of its own")
	}
	return strings.Join(all, ", ")
}

func neighbours(all []Neighbour) string {
	var names []string
	for _, n := range all {
		names = append(names, n.Name)
	}
	return strings.Join(names, ", ")
}

// Bytes writes a size for people, with binary units: "512 MiB", "3.9 GiB".
func Bytes(n uint64) string {
	const unit = 1 << 10
	f, i := float64(n), 0
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	for f >= unit && i < len(units)-1 {
		f, i = f/unit, i+1
	}
	s := strconv.FormatFloat(f, 'f', 1, 64)
	if i < 3 { // below a GiB nobody needs the tenth
		s = strconv.FormatFloat(f, 'f', 0, 64)
	}
	return strings.TrimSuffix(s, ".0") + " " + units[i]
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
