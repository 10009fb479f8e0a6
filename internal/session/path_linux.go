package session

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// path is the TCP connection under a session; the zero value is one that is not known.
type path struct{ raw syscall.RawConn }

// pathOf finds it under whatever lies on it.
func pathOf(conn net.Conn) path {
	tcp, ok := SocketOf(conn).(*net.TCPConn)
	if !ok {
		return path{}
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return path{}
	}
	return path{raw}
}

func (p path) known() bool { return p.raw != nil }

// room reports whether the kernel has sent all and had it acknowledged, so that a short write cannot wait.
func (p path) room() bool {
	if p.raw == nil {
		return false
	}
	empty := false
	err := p.raw.Control(func(fd uintptr) {
		queued, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		empty = err == nil && queued == 0
	})
	return err == nil && empty
}

// silence is how long no packet has come, and whether the kernel waits for one: for the acknowledgement of what it has sent, or for room.
// An error is a connection that is closed, which others see, too, or one of which nothing can be known: then it is 0, false.
func (p path) silence() (lasted time.Duration, waits bool) {
	if p.raw == nil {
		return 0, false
	}
	_ = p.raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			lasted = time.Duration(min(info.Last_ack_recv, info.Last_data_recv)) * time.Millisecond
			waits = info.Unacked > 0 || info.Notsent_bytes > 0
		}
	})
	return lasted, waits
}
