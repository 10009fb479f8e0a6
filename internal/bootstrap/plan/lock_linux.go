package plan

import (
	"errors"

	"golang.org/x/sys/unix"
)

// terminate sends SIGTERM to a process that still is the one that is meant: by its descriptor, where the kernel has
// those, it cannot meet another one that has got the number meanwhile.
func terminate(pid int, still func() bool) error {
	fd, err := unix.PidfdOpen(pid, 0)
	blind := errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) // before Linux 5.3, or where a filter does not know it
	if err != nil && !blind {
		return err
	}
	if !blind {
		defer func() { _ = unix.Close(fd) }()
	}
	switch {
	case !still():
		return nil
	case blind:
		return unix.Kill(pid, unix.SIGTERM)
	}
	return unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0)
}
