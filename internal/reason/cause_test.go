package reason

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"syscall"
	"testing"
)

func TestWhy(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	lookup := func(e net.DNSError) error { return &net.OpError{Op: "dial", Net: "tcp", Err: &e} }
	for want, err := range map[string]*Error{
		"gw:1":                     New(GatewayUnreachable, "gw:1", nil),
		"EOF":                      New(GatewayUnreachable, "", errors.New("EOF")),
		"gw:1: connection refused": New(GatewayUnreachable, "gw:1", &url.Error{Op: "Post", URL: "https://gw:1/v1/enroll", Err: refused}),
		"gw:2: connection refused": New(GatewayUnreachable, "gw:2", refused),
		"gw:3: there is no host gw": New(GatewayUnreachable, "gw:3", lookup(net.DNSError{
			Err: "no such host", Name: "gw", Server: "192.0.2.53:53", IsNotFound: true})),
		"gw:4: the name gw cannot be looked up at 192.0.2.53:53: connection refused": New(GatewayUnreachable, "gw:4", lookup(net.DNSError{
			Err: "read udp 192.0.2.9:60469->192.0.2.53:53: read: connection refused", Name: "gw", Server: "192.0.2.53:53"})),
		"gw:5: the name gw cannot be looked up at 192.0.2.53:53: server misbehaving": New(GatewayUnreachable, "gw:5", lookup(net.DNSError{
			Err: "server misbehaving", Name: "gw", Server: "192.0.2.53:53"})),
		"gw:6: no answer in time": New(GatewayUnreachable, "gw:6", &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}),
		"gw:7: after 3 attempts: dial tcp: connect: connection refused": New(GatewayUnreachable, "gw:7", fmt.Errorf("after 3 attempts: %w", refused)),
	} {
		if got := err.Why(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := err.Error(); got != err.Title+": "+want {
			t.Errorf("got %q", got)
		}
	}
}
