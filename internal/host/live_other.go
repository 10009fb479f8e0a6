//go:build !linux

package host

import (
	"errors"
	"net"
	"os"
	"runtime"
)

// What is asked of a Linux kernel is unknown elsewhere; captured machines can still be replayed.

func liveUname() (Uname, error)         { return Uname{}, errors.ErrUnsupported }
func liveStatfs(string) (Statfs, error) { return Statfs{}, errors.ErrUnsupported }
func liveResolve(path string) string    { return path }
func liveCPUs() int                     { return runtime.NumCPU() }
func livePageSize() int                 { return os.Getpagesize() }

func liveRandom() Known[bool]                        { return Known[bool]{} }
func liveDevice(string, uint32, uint32, bool) Device { return Device{} }
func liveWritable(string) bool                       { return false }
func liveInode(string) (lock, bool)                  { return lock{}, false }
func liveHolds(int, string) Known[bool]              { return Known[bool]{} }
func liveSynchronized() Known[bool]                  { return Known[bool]{} }
func livePathMTU(net.Conn) Known[int]                { return Known[int]{} }
