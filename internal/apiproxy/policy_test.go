package apiproxy

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/policy"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// TestGatewayCannotWidenThePolicy: a gateway that asks for everything that the owner of the machine forbids, for whoever it likes, gets
// none of it to the API server.
func TestGatewayCannotWidenThePolicy(t *testing.T) {
	var asked atomic.Int32
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, "{}")
	}))
	defer upstream.Close()
	base, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "policy.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	proxy := New(Options{
		Log: slog.New(slog.DiscardHandler), Allow: (&policy.Source{Path: file}).Judge,
		Upstream: func(context.Context) (Upstream, error) {
			return Upstream{Base: base, HTTP: http.DefaultTransport, Upgrade: http.DefaultTransport}, nil
		},
	})
	ask := func(request string, header http.Header) (int, string) {
		method, target, _ := strings.Cut(request, " ")
		r := httptest.NewRequest(method, wire.PathAgentKube+target, nil)
		r.Header = header.Clone()
		r.Header.Set(wire.HeaderUser, "pipeops:root")
		r.Header.Set(wire.HeaderGroup, "pipeops:admins")
		w := httptest.NewRecorder()
		proxy.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	forbidden := []string{
		"POST /api/v1/namespaces/shop/pods",
		"PUT /api/v1/namespaces/shop/pods/web-0",
		"PATCH /apis/apps/v1/namespaces/shop/deployments/web",
		"DELETE /api/v1/namespaces/shop",
		"DELETE /api/v1/nodes",
		"GET /api/v1/namespaces/shop/pods/web-0/exec?command=sh&stdin=true&tty=true",
		"POST /api/v1/namespaces/shop/pods/web-0/attach",
		"GET /api/v1/namespaces/shop/pods/web-0/portforward?ports=22",
		"PATCH /api/v1/namespaces/shop/pods/web-0/ephemeralcontainers",
		"GET /api/v1/nodes/one/proxy/run/shop/web-0/c?cmd=id",
		"GET /api/v1/nodes/one:10250/proxy/pods",
		"GET /api/v1/proxy/nodes/one/run",
		"GET /api/v1/namespaces/shop/services/web:80/proxy/",
		"POST /api/v1/namespaces/shop/serviceaccounts/default/token",
		"POST /api/v1/namespaces/shop/pods/web-0/eviction",
		"POST /apis/authorization.k8s.io/v1/subjectaccessreviews",
		"GET /api/v1/secrets", "GET /api/v1/secrets?watch=1", "GET /api/v1/namespaces/shop/secrets/key", "HEAD /api/v1/namespaces/shop/secrets/key",
		"GET /api/v1/watch/secrets", "GET /api/v1/watch/namespaces/shop/secrets/key", "GET /api/v1/namespaces/shop/secrets/?limit=1",
		"GET /api/v1/namespaces/kube-system/configmaps", "GET /api/v1/configmaps", "GET /api/v1/watch/configmaps",
	}
	headers := map[string]http.Header{
		"plain":     {},
		"override":  {"X-Http-Method-Override": {"GET"}, "X-Original-Url": {"/version"}},
		"websocket": {"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Protocol": {"v5.channel.k8s.io"}},
	}
	write("version: 1\nread_only: true\ndeny:\n- resources: [secrets]\n- namespaces: [kube-system]\n")
	for _, request := range forbidden {
		for name, header := range headers {
			if code, body := ask(request, header); code != http.StatusForbidden || !strings.Contains(body, file+" says: ") {
				t.Errorf("%s (%s): %d %s", request, name, code, body)
			}
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the API server was asked %d times", n)
	}
	for _, request := range []string{"GET /version", "GET /api/v1/namespaces/shop/pods", "GET /api/v1/namespaces/shop/pods/web-0/log?follow=1"} {
		if code, body := ask(request, http.Header{}); code != http.StatusOK {
			t.Errorf("%s: %d %s", request, code, body)
		}
	}

	write("version: 1\nreadonly: true\n")
	if code, body := ask("GET /api/v1/namespaces/shop/pods", http.Header{}); code != http.StatusForbidden || !strings.Contains(body, "nothing is let through") {
		t.Errorf("with a policy that is not understood: %d %s", code, body)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if code, body := ask("GET /api/v1/secrets", http.Header{}); code != http.StatusOK {
		t.Errorf("without a policy: %d %s", code, body)
	}
}
