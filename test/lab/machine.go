package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Options say what kind of machine is wanted. The zero value is a small virtual machine with Debian.
type Options struct {
	Packages  []string `json:"packages,omitempty"`  // Debian packages beside the base; each set is an image of its own
	Memory    int64    `json:"memory,omitempty"`    // limit in bytes; 0 means that of this host
	Container bool     `json:"container,omitempty"` // a container with the rights that containers usually have, no more
	OpenRC    bool     `json:"openrc,omitempty"`    // OpenRC starts the services, not systemd
	Docker    bool     `json:"docker,omitempty"`    // Debian's Docker is installed and runs
	Bare      bool     `json:"bare,omitempty"`      // nobody starts services: see BareBoot and BareFirst
}

// Machine is one machine of the lab, running or not.
type Machine struct {
	Name string

	lab     *Lab
	number  int
	options Options
}

// BootTimeout bounds a boot and an orderly reboot; a machine takes about a second when this host is idle, and up to half a minute more
// to stop nodes that are containers.
const BootTimeout = 90 * time.Second

// maxMachines is bounded by the addresses of the network: .2 to .254.
const maxMachines = 254

var validName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,20}$`)

// Up makes a pristine machine and boots it. It returns when systemd has finished starting.
func (l *Lab) Up(ctx context.Context, name string, opts Options) (*Machine, error) {
	if !validName.MatchString(name) || strings.HasPrefix(name, "image-") {
		return nil, fmt.Errorf("cannot name a machine %q: want lower-case letters, digits and '-', at most 21, not image-", name)
	}
	image, err := l.image(ctx, opts.packages())
	if err != nil {
		return nil, err
	}
	m, err := l.reserve(name, opts)
	if err != nil {
		return nil, err
	}
	if err := m.install(ctx, image); err != nil {
		return nil, errors.Join(err, m.Down(context.WithoutCancel(ctx)))
	}
	if err := m.Start(ctx); err != nil {
		return nil, errors.Join(err, m.Down(context.WithoutCancel(ctx)))
	}
	return m, nil
}

// reserve takes the name and a free number.
func (l *Lab) reserve(name string, opts Options) (*Machine, error) {
	unlock, err := l.lock("machines")
	if err != nil {
		return nil, err
	}
	defer unlock()
	machines, err := l.List()
	if err != nil {
		return nil, err
	}
	taken := map[int]bool{}
	for _, other := range machines {
		if other.Name == name {
			return nil, fmt.Errorf("cannot make machine %s: it exists; take it down first", name)
		}
		taken[other.number] = true
	}
	m := &Machine{Name: name, lab: l, number: 2, options: opts}
	for taken[m.number] {
		m.number++
	}
	if m.number > maxMachines {
		return nil, fmt.Errorf("cannot make machine %s: all addresses are taken", name)
	}
	data, err := json.Marshal(state{Number: m.number, Options: opts})
	if err != nil {
		return nil, fmt.Errorf("cannot record machine %s: %w", name, err)
	}
	if err := os.Mkdir(m.path(""), 0o755); err != nil {
		return nil, fmt.Errorf("cannot record machine %s: %w", name, err)
	}
	if err := os.WriteFile(m.path("machine.json"), data, 0o600); err != nil {
		return nil, fmt.Errorf("cannot record machine %s: %w", name, err)
	}
	return m, nil
}

// state is what machine.json holds.
type state struct {
	Number  int     `json:"number"`
	Options Options `json:"options"`
}

// Machine returns an existing machine.
func (l *Lab) Machine(name string) (*Machine, error) {
	if !validName.MatchString(name) {
		return nil, fmt.Errorf("cannot find machine %q: that is no name of a machine", name)
	}
	m := &Machine{Name: name, lab: l}
	data, err := os.ReadFile(m.path("machine.json"))
	if err != nil {
		return nil, fmt.Errorf("cannot find machine %s: %w", name, err)
	}
	var s state
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("cannot read the record of machine %s: %w", name, err)
	}
	m.number, m.options = s.Number, s.Options
	return m, nil
}

// List returns all machines by name.
func (l *Lab) List() ([]*Machine, error) {
	records, err := filepath.Glob(filepath.Join(l.Dir, "*", "machine.json"))
	if err != nil {
		return nil, fmt.Errorf("cannot list the machines: %w", err)
	}
	slices.Sort(records)
	var machines []*Machine
	for _, record := range records {
		m, err := l.Machine(filepath.Base(filepath.Dir(record)))
		if errors.Is(err, fs.ErrNotExist) {
			continue // taken down meanwhile
		}
		if err != nil {
			return nil, err
		}
		machines = append(machines, m)
	}
	return machines, nil
}

// install copies the image to the machine's disk and makes it a machine of its own. The copy shares blocks with the
// image where the file system can do that. An overlay would be no faster, and containers could not run on it.
func (m *Machine) install(ctx context.Context, image string) error {
	if _, err := run(ctx, "cp", "--archive", "--reflink=auto", image, m.Root()); err != nil {
		return fmt.Errorf("cannot copy the image for machine %s: %w", m.Name, err)
	}
	files := []file{
		{"/etc/hostname", m.Name + "\n", 0o644},
		{"/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 " + m.Name + "\n" + HostAddress + " " + HostName + "\n", 0o644},
		{"/etc/resolv.conf", "nameserver " + HostAddress + "\n", 0o644}, // nobody answers there, unless a test does
	}
	if !m.options.Container {
		files = append(files, hardwareFiles(m.options.OpenRC || m.options.Bare)...)
	}
	if m.options.OpenRC {
		files = append(files, openrcFiles()...)
	}
	if m.options.Docker {
		files = append(files, dockerFiles(m.options.OpenRC)...)
	}
	if m.options.Bare {
		files = append(files, bareFiles()...)
	}
	for _, f := range files {
		if err := os.RemoveAll(m.Root() + f.path); err != nil { // a symbolic link must not lead out of the machine
			return fmt.Errorf("cannot prepare machine %s: %w", m.Name, err)
		}
		if err := m.PushBytes([]byte(f.content), f.path, f.mode); err != nil {
			return err
		}
	}
	if m.options.Container || m.options.OpenRC || m.options.Bare {
		return nil
	}
	wants := m.Root() + "/etc/systemd/system/sysinit.target.wants"
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return fmt.Errorf("cannot prepare machine %s: %w", m.Name, err)
	}
	if err := os.Symlink("../lab-hardware.service", wants+"/lab-hardware.service"); err != nil {
		return fmt.Errorf("cannot prepare machine %s: %w", m.Name, err)
	}
	return nil
}

// Root returns the folder of this side that is the machine's disk.
func (m *Machine) Root() string { return m.path("root") }

// path returns a file of the machine's record.
func (m *Machine) path(name string) string { return filepath.Join(m.lab.Dir, m.Name, name) }
