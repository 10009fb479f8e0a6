package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// own makes the Service of a project that belongs to somebody.
func own(t *testing.T, client *cluster.Client, name, owner string) {
	t.Helper()
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service",
		"metadata": map[string]any{"name": name, "namespace": Namespace(name), "labels": map[string]any{managedBy: owner}},
	}}
	if _, err := resource(client, "Service", Namespace(name)).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestPagesRefuse holds what must never be dialled. Which addresses a Service may lead to is what package reach sees to.
func TestPagesRefuse(t *testing.T) {
	r, client := newTest(t)
	own(t, client, "gone", wire.FieldManager)
	own(t, client, "foreign", "somebody")
	var dialled []string
	dial := func(_ context.Context, to wire.Target) (net.Conn, error) {
		dialled = append(dialled, to.String())
		return nil, errors.New("no pod behind the service is ready")
	}
	pages := Pages(r.source, dial, nil, slog.New(slog.DiscardHandler))
	tests := []struct {
		path, user string
		want       reason.Code
	}{
		{"/v1/project/web/", "", reason.UserMissing},
		{"/v1/project/web/", "eve", reason.ProjectUnknown},
		{"/v1/project/UPPER/", "eve", reason.ProjectUnknown},
		{"/v1/project/gone/%2e%2e/x", "eve", reason.ProjectUnknown},
		{"/v1/project/foreign/", "eve", reason.ProjectUnreachable},
		{"/v1/project/gone/", "eve", reason.ProjectUnreachable},
	}
	for _, tt := range tests {
		request := httptest.NewRequest(http.MethodGet, tt.path, nil)
		if tt.user != "" {
			request.Header.Set(wire.HeaderUser, tt.user)
		}
		recorder := httptest.NewRecorder()
		pages.ServeHTTP(recorder, request)
		if err := refusal.Read(recorder.Result()); !reason.Is(err, tt.want) {
			body, _ := io.ReadAll(strings.NewReader(recorder.Body.String()))
			t.Errorf("%s as %q: %d %s, want %s", tt.path, tt.user, recorder.Code, body, tt.want)
		}
	}
	if got := strings.Join(dialled, " "); got != "svc/project-gone/gone:80" {
		t.Errorf("dialled %s", got)
	}
}

// TestPages: the project sees the request as it was made of it, no credentials that were for the gateway, and its answers, redirects too,
// go back as they are.
func TestPages(t *testing.T) {
	r, client := newTest(t)
	own(t, client, "web", wire.FieldManager)
	project := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/leave":
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusFound)
		case "/switch":
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", r.URL.Query().Get("to"))
			w.Header().Set("Sec-Websocket-Protocol", r.URL.Query().Get("sub"))
			w.WriteHeader(http.StatusSwitchingProtocols)
		default:
			_, _ = fmt.Fprintf(w, "%s %s %q %q", r.Host, r.URL.EscapedPath(), r.Header.Get("Authorization"), r.Header.Get(wire.HeaderUser))
		}
	}))
	t.Cleanup(project.Close)
	dials := 0
	dial := func(ctx context.Context, _ wire.Target) (net.Conn, error) {
		dials++
		return (&net.Dialer{}).DialContext(ctx, "tcp", project.Listener.Addr().String())
	}
	agent := httptest.NewServer(Pages(r.source, dial, nil, slog.New(slog.DiscardHandler)))
	t.Cleanup(agent.Close)
	ask := func(path, user string, header ...string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, agent.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set(wire.HeaderUser, user)
		request.Header.Set("X-Forwarded-Host", "web.shop.example.com")
		request.Header.Set("Authorization", "Bearer secret")
		for i := 0; i < len(header); i += 2 {
			request.Header.Set(header[i], header[i+1])
		}
		response, err := agent.Client().Transport.RoundTrip(request) // follows nothing
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode == http.StatusSwitchingProtocols {
			return response.StatusCode, ""
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body) + response.Header.Get("Location")
	}
	for _, tt := range []struct {
		path, user string
		header     []string
		status     int
		body       string
	}{
		{"/v1/project/web/a%2Fb", "pipeops:alice", nil, 200, `web.shop.example.com /a%2Fb "" ""`},
		{"/v1/project/web/", wire.UserPublic, nil, 200, `web.shop.example.com / "Bearer secret" ""`},
		{"/v1/project/web/leave", "pipeops:alice", nil, 302, "http://169.254.169.254/latest/meta-data/"},
		{"/v1/project/web/switch?to=websocket", "pipeops:alice", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, 101, ""},
		{"/v1/project/web/switch?to=websocket&sub=chat", "pipeops:alice", []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-Websocket-Protocol", "chat"}, 101, ""},
		{"/v1/project/web/switch?to=websocket&sub=other", "pipeops:alice", []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-Websocket-Protocol", "chat"}, 502, "PROJECT_UNREACHABLE"},
		{"/v1/project/web/switch?to=h2c", "pipeops:alice", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, 502, "PROJECT_UNREACHABLE"},
		{"/v1/project/web/switch?to=websocket", "pipeops:alice", nil, 502, "PROJECT_UNREACHABLE"},
	} {
		status, body := ask(tt.path, tt.user, tt.header...)
		if status != tt.status || !strings.Contains(body, tt.body) {
			t.Errorf("%s: %d %s, want %d %s", tt.path, status, body, tt.status, tt.body)
		}
	}
	if dials == 0 || dials > 8 {
		t.Errorf("%d dials", dials)
	}
}
