package gateway_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/apiproxy"
	"github.com/pipeopshq/pipeops-agent/internal/gateway"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// apiServer stands for a Kubernetes API server: over TLS, with HTTP/2, and it trusts its proxy's impersonation.
type apiServer struct {
	next  chan string  // what a watch says next
	heard chan string  // what was said last on each connection of /say without close
	sick  atomic.Bool  // it is not ready
	never atomic.Int32 // requests that it leaves without an answer
	calls
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer s.begin()()
	switch {
	case r.URL.Path == "/echo":
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"header": r.Header, "query": r.URL.RawQuery, "proto": r.Proto, "host": r.Host})
	case r.URL.Path == "/body":
		if r.ProtoMajor == 1 {
			_ = http.NewResponseController(w).EnableFullDuplex()
		}
		_, _ = io.Copy(w, r.Body)
	case r.URL.Path == "/watch":
		for {
			_ = http.NewResponseController(w).Flush()
			select {
			case line := <-s.next:
				_, _ = fmt.Fprintln(w, line)
			case <-r.Context().Done():
				return
			}
		}
	case r.URL.Path == "/say": // what the test wants, and then what it hears
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = rw.WriteString(r.URL.Query().Get("answer"))
		_ = rw.Flush()
		if r.URL.Query().Get("close") != "" {
			return
		}
		var last strings.Builder
		_, _ = io.Copy(io.MultiWriter(conn, &last), rw)
		select {
		case s.heard <- last.String():
		default:
		}
	case r.URL.Path == "/readyz" && s.sick.Load():
		http.Error(w, "[-]etcd failed", http.StatusInternalServerError)
	case r.URL.Path == "/readyz":
		_, _ = io.WriteString(w, "ok")
	case r.URL.Path == "/never":
		s.never.Add(1)
		<-r.Context().Done()
	case strings.HasPrefix(r.URL.Path, "/upgrade/"):
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer func() { _ = conn.Close() }()
		protocol := strings.TrimPrefix(r.URL.Path, "/upgrade/")
		_, _ = fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", strings.ReplaceAll(protocol, "_", "/"))
		_ = rw.Flush()
		_, _ = io.Copy(conn, rw)
	default:
		http.NotFound(w, r)
	}
}

// road is the whole way: user, gateway, tunnel, agent, API server.
type road struct {
	gateway *gatewaytest.Gateway // where the agent enrolled
	door    *gatewaytest.Gateway // where users come to: the same, or with PostgreSQL another one of the fleet
	agent   *agent
	server  *apiServer
	user    *user
}

func build(t testing.TB) *road {
	t.Helper()
	return buildOn(t, true)
}

// buildOn is build with an API server that has HTTP/2 or has not.
func buildOn(t testing.TB, h2 bool) *road {
	t.Helper()
	server := &apiServer{next: make(chan string), heard: make(chan string, 1)}
	upstream := httptest.NewUnstartedServer(server)
	upstream.EnableHTTP2 = h2
	upstream.StartTLS()
	t.Cleanup(upstream.Close)
	base, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(upstream.Certificate())
	plain := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	http1 := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, NextProtos: []string{"http/1.1"}}}
	t.Cleanup(plain.CloseIdleConnections)
	t.Cleanup(http1.CloseIdleConnections)
	kube := apiproxy.New(apiproxy.Options{Log: slog.New(slog.DiscardHandler), Upstream: func(context.Context) (apiproxy.Upstream, error) {
		return apiproxy.Upstream{Base: base, HTTP: plain, Upgrade: http1}, nil
	}})
	pages := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "page %s of %s, authorization %q, cookie %q", r.URL.EscapedPath(), r.Header.Get(wire.HeaderUser), r.Header.Get("Authorization"), r.Header.Get("Cookie"))
	})
	g := gatewaytest.Start(t)
	door := g
	if g.Store != "" {
		door = g.Beside()
	}
	a := runAgent(t, mustEnroll(t, g, "shop"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, wire.PathAgentProject+"/") {
			pages.ServeHTTP(w, r)
			return
		}
		kube.ServeHTTP(w, r)
	}))
	g.WaitConnected("shop", true)
	return &road{gateway: g, door: door, agent: a, server: server, user: login(t, door, "shop")}
}

// restart starts the gateway to which users come again with other limits.
func (r *road) restart(l gateway.Limits) {
	r.door.Stop()
	r.door.Limits = l
	r.door.Start()
	r.door.WaitConnected("shop", true)
}

// login makes a user of a cluster, as the kubeconfig command does.
func login(t testing.TB, g *gatewaytest.Gateway, cluster string, name ...string) *user {
	t.Helper()
	access, err := g.Admin.CreateAccess(t.Context(), cluster, append(name, "alice")[0], 0)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(access.CA)) {
		t.Fatal("no CA")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &user{t: t, base: access.Server, token: access.Token, client: &http.Client{Transport: transport}, address: g.Address}
}
