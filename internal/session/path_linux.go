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
	tcp, ok := socketOf(conn).(*net.TCPConn)
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

// silence is how long no packet has come; 0 where that cannot be known.
func (p path) silence() time.Duration {
	if p.raw == nil {
		return 0
	}
	var ms uint32
	err := p.raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			ms = min(info.Last_ack_recv, info.Last_data_recv)
		}
	})
	if err != nil { // it is closed, which others see, too
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}
