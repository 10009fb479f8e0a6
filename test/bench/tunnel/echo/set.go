package echo

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// What a set waits for.
const (
	readable = unix.EPOLLIN
	writable = unix.EPOLLOUT
)

// set is of sockets that are waited for, epoll(7).
type set struct {
	poll   int
	events []unix.EpollEvent
	ready  []int
}

// newSet returns a set that tells of so many sockets at a time. It must be closed.
func newSet(atATime int) (*set, error) {
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot wait for sockets: %w", err)
	}
	return &set{poll: poll, events: make([]unix.EpollEvent, atATime), ready: make([]int, 0, atATime)}, nil
}

func (s *set) close() { shut(s.poll) }

// add adds a socket, and what to wait for, until it is closed.
func (s *set) add(socket int, what uint32) error {
	return s.control(unix.EPOLL_CTL_ADD, socket, what)
}

// change changes what a socket is waited for.
func (s *set) change(socket int, what uint32) error {
	return s.control(unix.EPOLL_CTL_MOD, socket, what)
}

// remove takes out a socket that stays open.
func (s *set) remove(socket int) error { return s.control(unix.EPOLL_CTL_DEL, socket, 0) }

func (s *set) control(op, socket int, what uint32) error {
	if err := unix.EpollCtl(s.poll, op, socket, &unix.EpollEvent{Events: what, Fd: int32(socket)}); err != nil {
		return fmt.Errorf("cannot wait for a socket: %w", err)
	}
	return nil
}

// wait returns the sockets that have what is waited for, or broke; none if that takes too long. The next call overwrites them. One that was
// closed while a process was being started, which holds all sockets until it is, may be among them for as long.
func (s *set) wait(within time.Duration) ([]int, error) {
	n, err := unix.EpollWait(s.poll, s.events, int(within.Milliseconds()))
	if err != nil && !errors.Is(err, unix.EINTR) {
		return nil, fmt.Errorf("cannot wait for sockets: %w", err)
	}
	s.ready = s.ready[:0]
	for _, e := range s.events[:max(n, 0)] {
		s.ready = append(s.ready, int(e.Fd))
	}
	return s.ready, nil
}

// parse parses an address such as 127.0.0.1:7000.
func parse(text string) (*unix.SockaddrInet4, error) {
	a, err := netip.ParseAddrPort(text)
	if err != nil || !a.Addr().Is4() {
		return nil, fmt.Errorf("%q is no address of IPv4 with a port", text)
	}
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, nil
}

// newSocket makes a TCP socket, which never makes its thread wait.
func newSocket() (int, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot make a socket: %w", err)
	}
	return socket, nil
}

// SpeaksFirst has what whoever connects acknowledges go with what he says: the end of the handshake with the first word, and the answer with
// what follows it. That is two packets less for each connection, of ten. It is asked for before connecting.
func SpeaksFirst(socket int) error {
	if err := unix.SetsockoptInt(socket, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0); err != nil {
		return fmt.Errorf("cannot have acknowledgements go with words: %w", err)
	}
	return nil
}

func shut(fd int) { _ = unix.Close(fd) } // it is gone whatever is said
