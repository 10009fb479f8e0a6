package gateway

import (
	"io"
	"net"
	"testing"
)

// TestBegun: of a connection on which something was said nothing is missing, and its socket is found.
func TestBegun(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	agent, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Close()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const said = "the first word of an agent, and the rest"
	if _, err := io.WriteString(agent, said); err != nil {
		t.Fatal(err)
	}
	if err := agent.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	began := (carrier{Conn: conn}).spoke(t.Context())
	if began == nil {
		t.Fatal("it was not heard")
	}
	if got, err := io.ReadAll(began); err != nil || string(got) != said {
		t.Errorf("%q, %v", got, err)
	}
	if began.NetConn() != conn {
		t.Errorf("a %T hides its socket", began)
	}
	silent, there := net.Pipe()
	_ = there.Close()
	if (carrier{Conn: silent}).spoke(t.Context()) != nil {
		t.Error("one that is gone has spoken")
	}
}
