package echo

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Other takes a stream that is not for echoes, with its hello and how many bytes came after that already. It has a goroutine of its own.
type Other func(conn net.Conn, hello [HelloSize]byte, came int)

// Server returns what is said on streams for echoes, word by word, all in one thread.
type Server struct {
	listener int
	set      *set
	talks    map[int]*talk // by their sockets
	other    Other
}

type talk struct {
	said [HelloSize + Word]byte // words take the place of one another
	came int
}

// Listen listens at an address. The server must be told to serve, and once it is, to stop.
func Listen(address string, other Other) (s *Server, err error) {
	at, err := parse(address)
	if err != nil {
		return nil, err
	}
	s = &Server{talks: map[int]*talk{}, other: other}
	if s.listener, err = newSocket(); err != nil {
		return nil, err
	}
	err = unix.SetsockoptInt(s.listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil {
		err = unix.Bind(s.listener, at)
	}
	if err == nil {
		err = unix.Listen(s.listener, unix.SOMAXCONN)
	}
	if err == nil {
		s.set, err = newSet(64)
	}
	if err != nil {
		shut(s.listener)
		return nil, fmt.Errorf("cannot listen at %s: %w", address, err)
	}
	return s, nil
}

// Stop has Serve return.
func (s *Server) Stop() { _ = unix.Shutdown(s.listener, unix.SHUT_RDWR) } // it may have returned already

// Serve serves until it is stopped, and closes all that it has not handed on.
func (s *Server) Serve() error {
	defer s.close()
	if err := s.set.add(s.listener, readable); err != nil {
		return err
	}
	for {
		ready, err := s.set.wait(time.Minute)
		if err != nil {
			return err
		}
		for _, socket := range ready {
			if socket != s.listener {
				s.hear(socket)
				continue
			}
			switch err := s.accept(); {
			case errors.Is(err, unix.EINVAL): // it was shut down
				return nil
			case err != nil:
				return err
			}
		}
	}
}

func (s *Server) close() {
	for socket := range s.talks {
		shut(socket)
	}
	shut(s.listener)
	s.set.close()
}

func (s *Server) accept() error {
	socket, _, err := unix.Accept4(s.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED): // who called has gone
		return nil
	case err != nil:
		return fmt.Errorf("cannot accept a connection: %w", err)
	}
	s.talks[socket] = new(talk)
	return s.set.add(socket, readable)
}

// hear takes what has come on a stream, and closes it when that was all.
func (s *Server) hear(socket int) {
	t, ok := s.talks[socket]
	if !ok {
		return
	}
	n, err := unix.Read(socket, t.said[t.came:])
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return
	case err != nil, n == 0:
		s.drop(socket)
		return
	}
	known := t.came >= HelloSize
	t.came += n
	switch {
	case t.came < HelloSize:
	case !known && t.said[0] != Kind:
		s.handOn(socket, t)
	case !t.answer(socket):
		s.drop(socket)
	}
}

func (s *Server) drop(socket int) {
	delete(s.talks, socket)
	shut(socket)
}

// answer returns the word, if it is whole. It is false for those who do not listen: the kernel has room for what it returns at a time.
func (t *talk) answer(socket int) bool {
	if t.came < len(t.said) {
		return true
	}
	t.came = HelloSize
	n, err := unix.Write(socket, t.said[HelloSize:])
	return err == nil && n == Word
}

func (s *Server) handOn(socket int, t *talk) {
	delete(s.talks, socket)
	file := os.NewFile(uintptr(socket), "a stream")
	defer file.Close()
	if s.set.remove(socket) != nil {
		return
	}
	conn, err := net.FileConn(file) // which has a copy
	if err != nil {
		return
	}
	go s.other(conn, [HelloSize]byte(t.said[:]), t.came-HelloSize)
}
