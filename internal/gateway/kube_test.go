package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func TestKubeRequestIsTheUsers(t *testing.T) {
	road := build(t)
	r := road.user.request(http.MethodGet, "/echo?watch=true&labelSelector=a%3Db", nil)
	for name, value := range map[string]string{
		"Impersonate-User": "system:admin", "Impersonate-Group": "system:masters", "Impersonate-Uid": "0", "Impersonate-Extra-X": "y",
		wire.HeaderUser: "pipeops:mallory", wire.HeaderGroup: "pipeops:others", "X-Remote-User": "root", "X-Forwarded-For": "1.2.3.4", "Accept": "application/json",
	} {
		r.Header.Set(name, value)
	}
	response, err := road.user.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var got struct {
		Header       http.Header
		Query, Proto string
	}
	if err := json.NewDecoder(response.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"Impersonate-User": "pipeops:alice", "Impersonate-Group": wire.GroupAdmins, "Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "Go-http-client/2.0"}
	if trace, ok := wire.TraceOf(got.Header); !ok || trace.ID() == "" {
		t.Errorf("no trace: %q", got.Header)
	}
	delete(got.Header, "Traceparent")
	for name, values := range got.Header {
		if len(values) != 1 || values[0] != want[name] {
			t.Errorf("%s: %q got through", name, values)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	if got.Query != "watch=true&labelSelector=a%3Db" || got.Proto != "HTTP/2.0" {
		t.Errorf("got %+v", got)
	}
	has(t, response.Header.Get("Warning"), "alice")
}

func TestKubeRefusals(t *testing.T) {
	road := build(t)
	other := mustEnroll(t, road.gateway, "other")
	_ = other
	tests := []struct {
		name, base, path, token string
		status                  int
		want                    string
	}{
		{"no token", road.user.base, "/echo", "", 401, "Unauthorized"},
		{"wrong token", road.user.base, "/echo", road.user.token[:len(road.user.token)-2] + "xx", 401, "Unauthorized"},
		{"another cluster's", strings.Replace(road.user.base, "shop", "other", 1), "/echo", road.user.token, 401, "Unauthorized"},
		{"no such cluster", strings.Replace(road.user.base, "shop", "none", 1), "/echo", road.user.token, 401, "Unauthorized"},
		{"dot segments", road.user.base, "/a/%2e%2e/echo", road.user.token, 400, "BadRequest"},
		{"encoded slash", road.user.base, "/a%2fb", road.user.token, 400, "BadRequest"},
		{"not found", road.user.base, "/none", road.user.token, 404, "not found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := *road.user
			u.t, u.base, u.token = t, tt.base, tt.token
			status, body := u.get(tt.path)
			if status != tt.status {
				t.Errorf("got %d", status)
			}
			has(t, body, tt.want)
		})
	}
	road.agent.stop()
	road.gateway.WaitConnected("shop", false)
	status, body := road.user.get("/echo")
	if status != http.StatusServiceUnavailable {
		t.Errorf("without agent %d", status)
	}
	has(t, body, `"reason":"ClusterNotConnected"`)
	has(t, body, "last seen")
}

// TestKubeAtTheRoot: kubectl get --raw and kubectl proxy leave out the path of the server that a kubeconfig has.
func TestKubeAtTheRoot(t *testing.T) {
	road := build(t)
	root := *road.user
	root.base = "https://" + road.gateway.Address
	if status, body := root.get("/echo?a=b"); status != http.StatusOK || !strings.Contains(body, `"query":"a=b"`) || !strings.Contains(body, "pipeops:alice") {
		t.Errorf("%d %s", status, body)
	}
	if status, body := root.get("/healthz"); status != http.StatusNotFound || strings.Contains(body, "ok") { // the cluster's, which has none
		t.Errorf("%d %s", status, body)
	}
	for _, path := range []string{"/v1/echo", "/v1/heartbeat"} {
		if status, body := root.get(path); status != http.StatusNotFound || strings.Contains(body, "header") {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	root.token = root.token[:len(root.token)-2] + "xx"
	if status, _ := root.get("/echo"); status != http.StatusUnauthorized {
		t.Errorf("with a wrong token: %d", status)
	}
	root.token = "another kind of token"
	if status, body := root.get("/healthz"); status != http.StatusOK || body != "ok\n" {
		t.Errorf("the gateway's own: %d %s", status, body)
	}
	if status, _ := root.get("/echo"); status != http.StatusNotFound {
		t.Errorf("without a user token: %d", status)
	}
}

func TestKubeManyRequestsAtATime(t *testing.T) {
	road := build(t)
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<13) // 128 KiB
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			response, err := road.user.client.Do(road.user.request(http.MethodPost, "/body", bytes.NewReader(body)))
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = response.Body.Close() }()
			got, err := io.ReadAll(response.Body)
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("got %d bytes, status %d, %v", len(got), response.StatusCode, err)
			}
		})
	}
	all.Wait()
}

func TestKubeWatchIsNotBufferedAndEndsWithItsUser(t *testing.T) {
	road := build(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	response, err := road.user.client.Do(road.user.request(http.MethodGet, "/watch", nil).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	for _, want := range []string{"one", "two", "three"} {
		road.server.next <- want // the next is said only after this one has arrived
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("got %q, %v", lines.Text(), lines.Err())
		}
	}
	cancel()
	road.gateway.Wait("the API server's side of the watch ends", func() bool {
		select {
		case road.server.next <- "nobody listens":
			return false
		default:
			return true
		}
	})
}

func TestKubeCutWatchIsAnError(t *testing.T) {
	road := build(t)
	for _, cut := range []struct {
		name string
		do   func()
	}{
		{"agent's connection", func() { road.agent.stop() }},
	} {
		response, err := road.user.client.Do(road.user.request(http.MethodGet, "/watch", nil))
		if err != nil {
			t.Fatal(err)
		}
		road.server.next <- "one"
		part := make([]byte, 4)
		if _, err := io.ReadFull(response.Body, part); err != nil {
			t.Fatal(err)
		}
		cut.do()
		if _, err := io.Copy(io.Discard, response.Body); err == nil {
			t.Errorf("%s: the watch seems to have ended by itself", cut.name)
		}
		_ = response.Body.Close()
	}
}

// upgrade asks for a change of protocol as kubectl does, over HTTP/1.1, and returns the status and the connection.
func (u *user) upgrade(path, protocol string) (*http.Response, net.Conn, *bufio.Reader) {
	u.t.Helper()
	tr := u.client.Transport.(*http.Transport)
	conn, err := tls.Dial("tcp", u.address, &tls.Config{RootCAs: tr.TLSClientConfig.RootCAs, NextProtos: []string{"http/1.1"}})
	if err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	r := u.request(http.MethodPost, path, nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", protocol)
	r.Header.Set("X-Stream-Protocol-Version", "v4.channel.k8s.io")
	if err := r.Write(conn); err != nil {
		u.t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, r)
	if err != nil {
		u.t.Fatal(err)
	}
	return response, conn, reader
}

func TestKubeUpgrade(t *testing.T) {
	road := build(t)
	for _, protocol := range []string{"SPDY/3.1", "websocket"} {
		response, conn, reader := road.user.upgrade("/upgrade/"+strings.ReplaceAll(protocol, "/", "_"), protocol)
		if response.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%s: %s", protocol, response.Status)
		}
		big := bytes.Repeat([]byte("x"), 3<<20)
		go func() { _, _ = conn.Write(big) }()
		got := make([]byte, len(big))
		if _, err := io.ReadFull(reader, got); err != nil || !bytes.Equal(got, big) {
			t.Errorf("%s: the echo is not what was said: %v", protocol, err)
		}
	}
}

func TestKubeUpgradeMustAgree(t *testing.T) {
	road := build(t)
	for _, tt := range []struct {
		path, ask string
		status    int
	}{
		{"/upgrade/websocket", "SPDY/3.1", http.StatusBadGateway}, // the server answers another one
		{"/upgrade/h2c", "SPDY/3.1", http.StatusBadGateway},
		{"/upgrade/h2c", "h2c", http.StatusBadRequest},
		{"/echo", "SPDY/3.1", http.StatusOK}, // the server does not switch
	} {
		response, _, _ := road.user.upgrade(tt.path, tt.ask)
		if response.StatusCode != tt.status {
			t.Errorf("%s for %s: %s", tt.path, tt.ask, response.Status)
		}
		_ = response.Body.Close()
	}
}

func TestProjectPages(t *testing.T) {
	road := build(t)
	u := *road.user
	u.base = "https://" + road.gateway.Address + wire.PathProjects
	r := u.request(http.MethodGet, "/shop/web/a%2Fb/c?x=1", nil)
	r.Header.Set("Cookie", "mine=1")
	r.Header.Set(wire.HeaderUser, "pipeops:mallory")
	response, err := u.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, _ := io.ReadAll(response.Body)
	if want := `page /v1/project/web/a%2Fb/c of pipeops:alice, authorization "", cookie "mine=1"`; string(body) != want {
		t.Errorf("got %s", body)
	}
	basic := u.request(http.MethodGet, "/shop/web", nil) // as a browser does: password, and a redirect to the folder
	basic.SetBasicAuth("anybody", u.token)
	response, err = u.client.Do(basic)
	if err != nil {
		t.Fatal(err)
	}
	body, _ = io.ReadAll(response.Body)
	_ = response.Body.Close()
	has(t, string(body), "page /v1/project/web/ of pipeops:alice")

	u.base = road.user.base
	kube := u.request(http.MethodGet, "/echo", nil)
	kube.SetBasicAuth("anybody", u.token)
	if response, err = u.client.Do(kube); err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("a page could use the Kubernetes API: %s", response.Status)
	}
	page, err := road.gateway.Admin.Page(t.Context(), "shop", "web", "/hello there")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = page.Body.Close() }()
	body, _ = io.ReadAll(page.Body)
	has(t, string(body), "page /v1/project/web/hello%20there of pipeops:admin")
	for _, path := range []string{"/shop/web/%2e%2e/other/", "/shop/web/..%2f..", "/shop/Web_/", "/shop/../x"} {
		u.base = "https://" + road.gateway.Address + wire.PathProjects
		r := u.request(http.MethodGet, "", nil)
		r.URL.Opaque = "//" + road.gateway.Address + wire.PathProjects + path // as it is, not cleaned
		response, err := u.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode < 400 {
			t.Errorf("%s: %s", path, response.Status)
		}
	}
}

// BenchmarkKube measures a small request over the whole way, against the API server asked directly.
func BenchmarkKube(b *testing.B) {
	road := build(b)
	b.Run("tunnel", func(b *testing.B) {
		for b.Loop() {
			if status, _ := road.user.get("/echo"); status != http.StatusOK {
				b.Fatal(status)
			}
		}
	})
	b.Run("gateway only", func(b *testing.B) {
		u := *road.user
		u.base = "https://" + road.gateway.Address
		for b.Loop() {
			if status, _ := u.get("/healthz"); status != http.StatusOK {
				b.Fatal(status)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				_, _ = road.user.get("/echo")
			}
		})
	})
}
