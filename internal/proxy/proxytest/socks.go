package proxytest

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"testing"
)

// SOCKS5 runs a proxy of RFC 1928, with the login of RFC 1929 if there is a User.
func SOCKS5(t testing.TB, s Settings) *Proxy {
	t.Helper()
	return start(t, &Proxy{Settings: s}, nil, (*Proxy).socks)
}

func (p *Proxy) socks(conn net.Conn) {
	method := byte(0)
	if p.User != "" {
		method = 2
	}
	var offered [2]byte
	if _, err := io.ReadFull(conn, offered[:]); err != nil || offered[0] != 5 {
		return
	}
	methods := make([]byte, offered[1])
	if _, err := io.ReadFull(conn, methods); err != nil {
		return
	}
	if !bytes.Contains(methods, []byte{method}) {
		_, _ = conn.Write([]byte{5, 0xff})
		return
	}
	_, _ = conn.Write([]byte{5, method})
	if method == 2 && !p.login(conn) {
		return
	}
	var request [4]byte
	if _, err := io.ReadFull(conn, request[:]); err != nil || request[1] != 1 {
		return
	}
	var host string
	switch request[3] {
	case 1, 4:
		ip := make(net.IP, map[byte]int{1: net.IPv4len, 4: net.IPv6len}[request[3]])
		if _, err := io.ReadFull(conn, ip); err != nil {
			return
		}
		host = ip.String()
	default:
		name, err := text(conn)
		if err != nil {
			return
		}
		host = name
	}
	var port [2]byte
	if _, err := io.ReadFull(conn, port[:]); err != nil {
		return
	}
	address := net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(port[:]))))
	p.note("CONNECT " + address)
	say := func(reply byte) { _, _ = conn.Write([]byte{5, reply, 0, 1, 0, 0, 0, 0, 0, 0}) }
	if p.Status != 0 {
		say(byte(p.Status))
		return
	}
	target, ok := p.reach(address)
	if !ok {
		say(4) // host unreachable
		return
	}
	say(0)
	p.splice(conn, conn, target)
}

func (p *Proxy) login(conn net.Conn) bool {
	var version [1]byte
	if _, err := io.ReadFull(conn, version[:]); err != nil {
		return false
	}
	user, err := text(conn)
	if err != nil {
		return false
	}
	password, err := text(conn)
	if err != nil {
		return false
	}
	if user != p.User || password != p.Password {
		_, _ = conn.Write([]byte{1, 1})
		return false
	}
	_, err = conn.Write([]byte{1, 0})
	return err == nil
}

// text reads a string with its length before it.
func text(conn net.Conn) (string, error) {
	var n [1]byte
	if _, err := io.ReadFull(conn, n[:]); err != nil {
		return "", err
	}
	b := make([]byte, n[0])
	_, err := io.ReadFull(conn, b)
	return string(b), err
}
