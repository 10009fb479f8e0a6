//go:build !linux

package plan

import "golang.org/x/sys/unix"

func terminate(pid int, _ func() bool) error { return unix.Kill(pid, unix.SIGTERM) }
