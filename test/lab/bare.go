package lab

import (
	"context"
	_ "embed"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	bareInitPath = "/usr/local/sbin/lab-init"
	// BareBoot is what a machine without an init runs at its start, if it is there and executable: in the background, as WSL
	// does with the command of [boot].
	BareBoot = "/etc/lab-boot"
	// BareFirst is what becomes the first process of such a machine instead, as the command of a container.
	BareFirst = "/etc/lab-first"
)

//go:embed bare-init.sh
var bareInit string

// bareFiles are those of a machine without an init.
func bareFiles() []file { return []file{{bareInitPath, bareInit, 0o755}} }

// rebootBare ends the first process, as whoever stops a container does, and starts the machine again.
func (m *Machine) rebootBare(ctx context.Context, leader int) error {
	if err := unix.Kill(leader, unix.SIGTERM); err != nil {
		return fmt.Errorf("cannot stop machine %s: %w", m.Name, err)
	}
	limited, cancel := context.WithTimeout(ctx, 2*BootTimeout) // its services are stopped in good order
	defer cancel()
	err := WaitFor(limited, "machine "+m.Name+" off", func(context.Context) (bool, error) {
		if m.supervisor() != 0 {
			return false, nil
		}
		return m.removeCgroups()
	})
	if err != nil {
		return err
	}
	return m.Start(ctx)
}
