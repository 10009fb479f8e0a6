package gateway_test

import (
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/audit"
	"github.com/pipeopshq/pipeops-agent/internal/gateway"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
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

// TestAGatewayDoesNothingThatItCannotRecord: where the log is required no request of a user goes to an agent without it, and a balancer sends
// users elsewhere. Else requests go on.
func TestAGatewayDoesNothingThatItCannotRecord(t *testing.T) {
	for mode, want := range map[string]int{gateway.AuditOn: http.StatusOK, gateway.AuditRequired: http.StatusServiceUnavailable} {
		t.Run(mode, func(t *testing.T) {
			g := gatewaytest.Start(t)
			id, u := mustEnroll(t, g, "shop"), login(t, g, "shop")
			g.Stop()
			g.Audit = mode
			if err := os.RemoveAll(gateway.AuditDir(g.Data)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(gateway.AuditDir(g.Data), nil, 0o600); err != nil { // in the way of the folder
				t.Fatal(err)
			}
			g.Start()
			var asked atomic.Bool
			runAgent(t, id, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Store(true) }))
			g.WaitConnected("shop", true)
			answer, err := u.client.Do(u.request(http.MethodGet, "/api/v1/namespaces/shop/secrets/key", nil))
			if err != nil {
				t.Fatal(err)
			}
			said, _ := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			done := want == http.StatusOK
			if answer.StatusCode != want || asked.Load() != done || !done && !strings.Contains(string(said), "the audit log cannot be kept, and it is required") {
				t.Errorf("got %d %s, the agent was asked: %t", answer.StatusCode, said, asked.Load())
			}
			ready, err := u.client.Get("https://" + g.Address + "/readyz")
			if err != nil {
				t.Fatal(err)
			}
			_ = ready.Body.Close()
			if ready.StatusCode != want {
				t.Errorf("it is ready: %s", ready.Status)
			}
		})
	}
}
