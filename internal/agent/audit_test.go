package agent

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/audit"
	"github.com/pipeopshq/pipeops-agent/internal/gateway"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/localapi"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const canary = "CANARY-0a1b2c3d"

// secrets stands for an API server in which every Secret has the canary, that runs commands, and that breaks off.
func secrets(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Trace", r.Header.Get("Traceparent")+" "+r.Header.Get("Tracestate"))
	switch {
	case strings.HasSuffix(r.URL.Path, "/exec"):
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n" + canary)
		_ = rw.Flush()
		_, _ = rw.ReadByte()
	case strings.HasSuffix(r.URL.Path, "/cut"):
		_, _ = w.Write(make([]byte, 1000))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	default:
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, `{"kind":"Secret","data":{"key":"%s"}}`, canary)
	}
}

// caller is a user of the cluster "one".
type caller struct {
	t      *testing.T
	access gateway.Access
	pool   *x509.CertPool
	client *http.Client
}

func (b *bench) caller() *caller {
	b.t.Helper()
	access, err := b.gateway.Admin.CreateAccess(b.t.Context(), "one", "alice", 0)
	if err != nil {
		b.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(access.CA))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	b.t.Cleanup(transport.CloseIdleConnections)
	return &caller{b.t, access, pool, &http.Client{Transport: transport}}
}

func (c *caller) ask(method, path string, header http.Header, body string) (*http.Response, string, error) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.access.Server+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if header != nil {
		r.Header = header.Clone()
	}
	r.Header.Set("Authorization", "Bearer "+c.access.Token)
	response, err := c.client.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	return response, string(raw), err
}

func find(t *testing.T, dir string, wants func(audit.Record) bool) []audit.Record {
	t.Helper()
	files, err := audit.Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	var found []audit.Record
	if err := audit.Read(files, func(r audit.Record) error {
		if wants(r) {
			found = append(found, r)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestBothEndsRecord(t *testing.T) {
	b := newBench(t)
	b.api.Config.Handler = http.HandlerFunc(secrets)
	b.cluster()
	stop := b.run()
	b.gateway.WaitConnected("one", true)
	user := b.caller()
	ours, theirs := AuditDir(b.options.StateDir), gateway.AuditDir(b.gateway.Data)

	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	response, body, err := user.ask(http.MethodPut, "/api/v1/namespaces/shop/secrets/key?fieldManager=kubectl&token="+canary, http.Header{
		"Traceparent": {"00-" + trace + "-00f067aa0ba902b7-01"}, "Tracestate": {"vendor=1,other=2"}, wire.HeaderRequest: {strings.Repeat("a", 32)}, "X-Secret": {canary},
	}, `{"data":{"key":"`+canary+`"}}`)
	if err != nil || !strings.Contains(body, canary) {
		t.Fatalf("got %q, %v", body, err)
	}
	if got := response.Header.Get("X-Trace"); got != "00-"+trace+"-00f067aa0ba902b7-01 vendor=1,other=2" {
		t.Errorf("the trace at the API server: %q", got)
	}
	if response, _, _ = user.ask(http.MethodGet, "/api/v1/namespaces/shop/secrets/key", http.Header{"Traceparent": {"00-" + trace + "-xx-01"}, "Tracestate": {"x"}}, ""); strings.Contains(response.Header.Get("X-Trace"), trace) ||
		len(strings.TrimSpace(response.Header.Get("X-Trace"))) != 55 {
		t.Errorf("a trace that is none becomes %q", response.Header.Get("X-Trace"))
	}
	if _, body, err := user.ask(http.MethodGet, "/api/v1/namespaces/shop/secrets/cut", nil, ""); err == nil {
		t.Errorf("a body that was cut ends well: %d bytes", len(body))
	}
	upgrade(t, user, b.gateway.Address)

	for _, dir := range []string{ours, theirs} {
		b.gateway.Wait("everything is recorded in "+dir, func() bool {
			return len(find(t, dir, func(r audit.Record) bool { return r.Kind == audit.KindEnd })) == 1 &&
				len(find(t, dir, func(r audit.Record) bool { return r.Kind == audit.KindRequest && r.Resource == "secrets" })) == 3
		})
	}
	stop()
	b.gateway.Stop()
	for _, dir := range []string{ours, theirs} {
		files, err := audit.Files(dir)
		if err != nil {
			t.Fatal(err)
		}
		others, err := audit.Files(map[string]string{ours: theirs, theirs: ours}[dir])
		if err != nil {
			t.Fatal(err)
		}
		report, err := audit.Verify(files, dir, others)
		if err != nil || report.Bad != nil || report.Held == 0 || report.Unended != 0 {
			t.Errorf("%s: %+v, %v", dir, report, err)
		}
		put := find(t, dir, func(r audit.Record) bool { return r.Verb == "update" && r.Resource == "secrets" })
		if len(put) != 1 || put[0].Trace != trace || put[0].User != "pipeops:alice" || len(put[0].Groups) != 1 || put[0].Groups[0] != wire.GroupAdmins || put[0].Namespace != "shop" || put[0].Name != "key" ||
			put[0].Query != "fieldManager=kubectl" || put[0].Status != 200 || put[0].In == 0 || put[0].Out == 0 || put[0].Cluster != "one" || put[0].Cut != nil {
			t.Errorf("%s: got %+v", dir, put)
		}
		if cut := find(t, dir, func(r audit.Record) bool { return r.Name == "cut" }); len(cut) != 1 || cut[0].Cut == nil || *cut[0].Cut != 1000 {
			t.Errorf("%s: got %+v", dir, cut)
		}
		run := find(t, dir, func(r audit.Record) bool { return r.Subresource == "exec" })
		if len(run) != 2 || run[0].Kind != audit.KindStart || run[1].Kind != audit.KindEnd || run[0].ID != run[1].ID || run[1].Status != 101 || run[1].Out < int64(len(canary)) ||
			run[0].Query != "command=sh&stdin=true" {
			t.Errorf("%s: got %+v", dir, run)
		}
		if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			raw, err := os.ReadFile(path)
			if bytes.Contains(raw, []byte(canary)) {
				t.Errorf("the secret is in %s", path)
			}
			if bytes.Contains(raw, []byte(user.access.Token[20:])) {
				t.Errorf("the token is in %s", path)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	}
	ids := func(dir string) (list []string) {
		for _, r := range find(t, dir, func(r audit.Record) bool { return r.Resource == "secrets" || r.Subresource == "exec" }) {
			list = append(list, r.ID)
		}
		return list
	}
	// they may be recorded in another order: each end does so when it is done
	seen := map[string]bool{strings.Repeat("a", 32): true}
	for _, id := range ids(ours) {
		seen[id] = true
	}
	for _, id := range ids(theirs) {
		if !seen[id] || id == strings.Repeat("a", 32) {
			t.Errorf("the agent has no request %s", id)
		}
	}
}

// upgrade runs a command, as kubectl exec does over SPDY.
func upgrade(t *testing.T, c *caller, address string) {
	t.Helper()
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: c.pool, NextProtos: []string{"http/1.1"}}}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = fmt.Fprintf(conn, "POST /v1/clusters/one/api/v1/namespaces/shop/pods/web/exec?command=sh&command=-c&command=%s&stdin=true HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n", canary, c.access.Token)
	got := make([]byte, 0, 1024)
	for part := make([]byte, 512); !bytes.Contains(got, []byte(canary)); {
		n, err := conn.Read(part)
		if got = append(got, part[:n]...); err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	_, _ = conn.Write([]byte("x"))
	_, _ = io.Copy(io.Discard, conn)
}

func TestWhatCannotBeRecordedIsNotDone(t *testing.T) {
	for _, mode := range []string{AuditOn, AuditRequired} {
		t.Run(mode, func(t *testing.T) {
			b := newBench(t)
			asked := make(chan string, 10)
			b.api.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "secrets/key") {
					asked <- r.URL.Path
				}
				secrets(w, r)
			})
			b.cluster()
			b.options.Audit = mode
			blocker := AuditDir(b.options.StateDir) // in the way of the folder
			if err := os.WriteFile(blocker, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			b.run()
			b.gateway.WaitConnected("one", true)
			b.awaitLocal(health.Audit, health.False)
			response, body, _ := b.caller().ask(http.MethodGet, "/api/v1/namespaces/shop/secrets/key", nil, "")
			if mode == AuditOn {
				if response.StatusCode != http.StatusOK || len(asked) != 1 {
					t.Errorf("got %d %s", response.StatusCode, body)
				}
				return
			}
			if response.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "the audit log cannot be kept") || len(asked) != 0 {
				t.Errorf("got %d %s, and the API server was asked %d times", response.StatusCode, body, len(asked))
			}
		})
	}
}

func TestNoAudit(t *testing.T) {
	b := newBench(t)
	b.options.Audit = AuditOff
	b.cluster()
	b.run()
	b.gateway.WaitConnected("one", true)
	if _, err := os.Stat(AuditDir(b.options.StateDir)); !os.IsNotExist(err) {
		t.Errorf("there is a folder: %v", err)
	}
	var status localapi.Status
	b.gateway.Wait("the agent answers", func() (ok bool) {
		got, err := localapi.Fetch(t.Context(), b.options.Socket)
		status = got
		return err == nil
	})
	for _, c := range status.Conditions {
		if c.Type == health.Audit && c.Reason != "Off" {
			t.Errorf("got %+v", c)
		}
	}
}

func TestAgentCounts(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.options.Metrics = "127.0.0.1:0"
	stop := b.run()
	b.gateway.WaitConnected("one", true)
	if response, _, _ := b.caller().ask(http.MethodGet, "/version", nil, ""); response.StatusCode != http.StatusOK {
		t.Fatalf("got %d", response.StatusCode)
	}
	wants := []string{
		"pipeops_agent_sessions 1\n", `pipeops_agent_requests_total{kind="kube",status="2xx"}`, `pipeops_agent_tunnel_round_trips_total{outcome="good"} 1`,
		"pipeops_agent_audit_up 1\n", "pipeops_agent_certificate_expiry_timestamp_seconds ",
	}
	b.gateway.Wait("it is counted", func() bool {
		var got strings.Builder
		if err := localapi.Metrics(t.Context(), b.options.Socket, &got); err != nil {
			return false
		}
		for _, want := range wants {
			if !strings.Contains(got.String(), want) {
				return false
			}
		}
		return true
	})
	b.gateway.Stop()
	b.gateway.Wait("the end of the session has a reason", func() bool {
		var got strings.Builder
		err := localapi.Metrics(t.Context(), b.options.Socket, &got)
		return err == nil && strings.Contains(got.String(), `pipeops_agent_sessions_ended_total{code="GATEWAY_STOPPING"} 1`)
	})
	stop()
}
