package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
)

// hostMAC is the address of this side. A bridge that was given none takes the lowest of its ports', so that it changes
// while machines come and go: those that know the old one are heard by nobody until they ask anew, up to half a minute later.
const hostMAC = "02:00:0a:62:00:01"

// EnsureNetwork makes this side of the network. The bridge stays until [Lab.DownAll].
func (l *Lab) EnsureNetwork(ctx context.Context) error {
	unlock, err := l.lock("network")
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := net.InterfaceByName(bridge); err == nil {
		return nil
	}
	for _, argv := range [][]string{
		{"ip", "link", "add", bridge, "address", hostMAC, "type", "bridge"},
		{"ip", "addr", "add", HostAddress + "/24", "dev", bridge},
		{"ip", "link", "set", bridge, "up"},
	} {
		if _, err := run(ctx, argv...); err != nil {
			return fmt.Errorf("cannot make the bridge of the lab: %w", err)
		}
	}
	return nil
}

// connect gives the machine a network namespace on the bridge, unless it has one.
func (m *Machine) connect(ctx context.Context) error {
	if err := m.lab.EnsureNetwork(ctx); err != nil {
		return err
	}
	ns := m.netns()
	if _, err := os.Stat("/run/netns/" + ns); err == nil {
		return nil
	}
	for _, argv := range [][]string{
		{"ip", "netns", "add", ns},
		{"ip", "link", "add", m.link(), "type", "veth", "peer", "name", "host0", "netns", ns},
		{"ip", "link", "set", m.link(), "master", bridge, "up"},
		{"ip", "-n", ns, "addr", "add", m.IP() + "/24", "dev", "host0"},
		{"ip", "-n", ns, "link", "set", "host0", "up"},
		{"ip", "-n", ns, "link", "set", "lo", "up"},
		{"ip", "-n", ns, "route", "add", "default", "via", HostAddress},
	} {
		if _, err := run(ctx, argv...); err != nil {
			return fmt.Errorf("cannot connect machine %s: %w", m.Name, err)
		}
	}
	return nil
}

// disconnect removes what connect made.
func (m *Machine) disconnect(ctx context.Context) error {
	if _, err := net.InterfaceByName(m.link()); err == nil {
		if _, err := run(ctx, "ip", "link", "del", m.link()); err != nil {
			return fmt.Errorf("cannot disconnect machine %s: %w", m.Name, err)
		}
	}
	if _, err := os.Stat("/run/netns/" + m.netns()); err == nil {
		if _, err := run(ctx, "ip", "netns", "del", m.netns()); err != nil {
			return fmt.Errorf("cannot disconnect machine %s: %w", m.Name, err)
		}
	}
	return nil
}

// IP returns the address of the machine.
func (m *Machine) IP() string { return network + strconv.Itoa(m.number) }

func (m *Machine) netns() string { return "plab-" + m.Name }
func (m *Machine) link() string  { return "plab" + strconv.Itoa(m.number) }
