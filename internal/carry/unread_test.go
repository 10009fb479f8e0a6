package carry

import "golang.org/x/sys/unix"

// unread is how many bytes lie in a socket.
func unread(fd uintptr) int64 {
	n, _ := unix.IoctlGetInt(int(fd), unix.TIOCINQ)
	return int64(n)
}
