//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/forward"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// connections reaches a Service by TCP, the DNS of the cluster by UDP, and does not reach the API server.
func (w *world) connections(t *testing.T, cluster string) {
	page := w.connect(t, cluster, "svc/project-web/web:80")
	said := output(t, exec.CommandContext(t.Context(), "curl", "-fsS", "--max-time", "20", "http://"+page.listen+"/"))
	if !strings.Contains(said, greeting) {
		t.Errorf("the page says %q", said)
	}
	if e := page.next(t, "ended"); e.Message != "" || e.Received == 0 {
		t.Errorf("%+v", e)
	}
	dns := w.connect(t, cluster, "svc/kube-system/kube-dns:53", "--udp")
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", dns.listen)
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if got, err := resolver.LookupHost(ctx, "kubernetes.default.svc.cluster.local."); err != nil || len(got) != 1 || !strings.HasPrefix(got[0], "10.43.") {
		t.Errorf("the DNS of the cluster says %v, %v", got, err)
	}
	api := w.connect(t, cluster, "svc/default/kubernetes:443")
	conn, err := net.Dial("tcp", api.listen)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if e := api.next(t, "refused"); e.Code != string(reason.ConnectAddress) {
		t.Errorf("%+v", e)
	}
}

// connecting is a pipeops-gateway connect that runs until the test ends.
type connecting struct {
	listen string
	lines  *bufio.Scanner
}

func (w *world) connect(t *testing.T, args ...string) *connecting {
	t.Helper()
	argv := w.Gateway.Command(append(append([]string{"connect"}, args...), "-o", "json")...)
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), argv[0], argv[1:]...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	c := &connecting{lines: bufio.NewScanner(stdout)}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		for c.lines.Scan() {
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("connect: %v", err)
		}
		limit.Stop()
	})
	c.listen = c.next(t, "listening").Listen
	return c
}

// next is the next event of a kind.
func (c *connecting) next(t *testing.T, kind string) forward.Event {
	t.Helper()
	for c.lines.Scan() {
		var e forward.Event
		if err := json.Unmarshal(c.lines.Bytes(), &e); err != nil {
			t.Fatalf("%s: %v", c.lines.Text(), err)
		}
		if e.Kind == kind {
			return e
		}
	}
	t.Fatalf("no event %s", kind)
	return forward.Event{}
}
