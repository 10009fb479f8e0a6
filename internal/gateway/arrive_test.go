package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// TestManyAgentsPingSeldom: an agent is told to ping the less often the more machines are connected, and again when they are gone.
func TestManyAgentsPingSeldom(t *testing.T) {
	g, ids, _ := opened(t)
	api := g.agentAPI(arriving(t, g, ids[0]))
	told := func() time.Duration {
		t.Helper()
		w := httptest.NewRecorder()
		hello := strings.NewReader(`{"version":1,"instance":"0123456789abcdef"}`)
		api.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, wire.PathHello, hello))
		var welcome wire.Welcome
		if err := json.Unmarshal(w.Body.Bytes(), &welcome); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d %q: %v", w.Code, w.Body, err)
		}
		return welcome.KeepAliveTime()
	}
	if got := told(); got != session.KeepAlive {
		t.Errorf("alone: %s", got)
	}
	var others []*peer
	for i := range 9_000 { // in 100 clusters, and each twice, as one that comes anew is
		others = append(others, &peer{id: fmt.Sprint(i % 100), machine: fmt.Sprint(i)})
		g.sessions.put(&peer{id: fmt.Sprint(i % 100), machine: fmt.Sprint(i)})
		g.sessions.put(others[i])
	}
	if got := told(); got != 60*time.Second {
		t.Errorf("beside 9,000: %s", got)
	}
	for _, p := range others {
		g.sessions.remove(p)
		g.sessions.remove(p)
	}
	if got := told(); got != session.KeepAlive {
		t.Errorf("alone again: %s", got)
	}
}
