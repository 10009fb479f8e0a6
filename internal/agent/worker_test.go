package agent

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/health"
)

// TestAWorkerLooksAtItself: its conditions follow its load balancer, by the CA that it keeps, and its kubelet.
func TestAWorkerLooksAtItself(t *testing.T) {
	answer := http.StatusOK
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(answer) })
	lb, foreign, kubelet := httptest.NewTLSServer(handler), httptest.NewUnstartedServer(handler), httptest.NewServer(handler)
	defer lb.Close()
	defer foreign.Close()
	defer kubelet.Close()
	dir := t.TempDir()
	tracker := &health.Tracker{}
	w := &workerWatch{health: tracker, dataDir: dir, balancer: lb.URL, kubelet: kubelet.URL}
	check := func(what string, well bool, reachable, ready string) {
		t.Helper()
		if got := w.look(context.Background()); got != well || tracker.Get(health.ClusterReachable).Status != reachable || tracker.Get(health.NodesReady).Status != ready {
			t.Errorf("%s: %t, %+v, %+v", what, got, tracker.Get(health.ClusterReachable), tracker.Get(health.NodesReady))
		}
	}
	check("not joined yet", false, health.False, health.True)
	ca := filepath.Join(dir, "agent", "server-ca.crt")
	if err := os.MkdirAll(filepath.Dir(ca), 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(ca, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: lb.Certificate().Raw}))
	check("joined", true, health.True, health.True)
	answer = http.StatusInternalServerError
	check("not well", false, health.False, health.False)
	answer = http.StatusOK
	kubelet.Close()
	check("no kubelet", false, health.True, health.False)
	write([]byte("no certificate"))
	check("no CA", false, health.False, health.False)
}
