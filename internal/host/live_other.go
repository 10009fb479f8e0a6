//go:build !linux

package host

import (
	"errors"
	"os"
	"runtime"
)

// What is asked of a Linux kernel is unknown elsewhere; captured machines can still be replayed.

func liveUname() (Uname, error)         { return Uname{}, errors.ErrUnsupported }
func liveStatfs(string) (Statfs, error) { return Statfs{}, errors.ErrUnsupported }
func liveResolve(path string) string    { return path }
func liveCPUs() int                     { return runtime.NumCPU() }
func livePageSize() int                 { return os.Getpagesize() }
