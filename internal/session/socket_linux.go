package session

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Tune sets the socket options of a tunnel on the TCP connection under conn; where there is none it does nothing.
func Tune(conn net.Conn) error {
	tcp, ok := SocketOf(conn).(*net.TCPConn)
	if !ok {
		return nil
	}
	if err := tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: probeIdle, Interval: probeEvery}); err != nil {
		return fmt.Errorf("cannot tune the connection: %w", err)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot tune the connection: %w", err)
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
		if set == nil {
			set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
		}
	})
	if err == nil {
		err = set
	}
	if err != nil {
		return fmt.Errorf("cannot tune the connection: %w", err)
	}
	return nil
}
