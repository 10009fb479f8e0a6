package gateway_test

import (
	"io"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/audit"
	"github.com/pipeopshq/pipeops-agent/internal/gateway"
)

// A connection to a service is recorded as start and end; the start is there while it is open.
func TestConnectionsAreRecorded(t *testing.T) {
	s := openMarket(t)
	recorded := func(kind string) []audit.Record {
		files, err := audit.Files(gateway.AuditDir(s.gateway.Data))
		if err != nil {
			t.Fatal(err)
		}
		var found []audit.Record
		if err := audit.Read(files, func(r audit.Record) error {
			if r.Verb == "connect" && r.Kind == kind {
				found = append(found, r)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return found
	}
	address, _ := s.listen(t, "tcp", "svc/shop/web:80")
	program := dial(t, "tcp", address)
	server, err := s.tcp.Accept()
	if err != nil {
		t.Fatal(err)
	}
	start := recorded(audit.KindStart)
	if len(start) != 1 || start[0].User != "pipeops:alice" || start[0].Resource != "services" || start[0].Namespace != "shop" || start[0].Name != "web" || start[0].Target != "tcp/80" {
		t.Errorf("while it is open: %+v", start)
	}
	_, _ = io.WriteString(program, "hello")
	if _, err := io.ReadFull(server, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(server, "all is well")
	_ = server.Close()
	if _, err := io.ReadAll(program); err != nil {
		t.Fatal(err)
	}
	_ = program.Close()
	s.gateway.Wait("its end is recorded", func() bool { return len(recorded(audit.KindEnd)) == 1 })
	if end := recorded(audit.KindEnd)[0]; end.ID != start[0].ID || end.Status != 101 || end.In < 5 || end.Out < 11 || end.Cut != nil || end.Reason == "" {
		t.Errorf("got %+v, %+v", end, end.Result)
	}
}
