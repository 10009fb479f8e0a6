//go:build !linux

package plan

import "golang.org/x/sys/unix"

func terminate(pid int, still func() bool) error {
	if !still() {
		return nil
	}
	return unix.Kill(pid, unix.SIGTERM)
}
