package gateway_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/tunnel"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// alarms returns those of a code.
func alarms(t *testing.T, g *gatewaytest.Gateway, code reason.Code) []store.Alarm {
	t.Helper()
	list, err := g.Admin.Alarms(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var found []store.Alarm
	for _, a := range list {
		if a.Code == string(code) {
			found = append(found, a)
		}
	}
	return found
}

// Two that hold one identity are an alarm; a machine that comes back after its connection was cut is none.
func TestCloneIsAnAlarm(t *testing.T) {
	g := gatewaytest.Start(t)
	id := mustEnroll(t, g, "shop")
	first := runAgent(t, id, nil)
	for i := range 3 {
		g.Wait("session", func() bool { return first.count() > i })
		g.WaitConnected("shop", true)
		g.Cut()
	}
	g.WaitConnected("shop", true)
	if found := alarms(t, g, reason.IdentityCloned); len(found) > 0 {
		t.Errorf("a connection that was cut is an alarm: %+v", found)
	}
	runAgent(t, id, nil)
	g.Wait("the alarm", func() bool { return len(alarms(t, g, reason.IdentityCloned)) == 1 })
	info, _ := g.Cluster("shop")
	machines, err := g.Admin.Machines(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Alarms) != 1 || info.Alarms[0].Cluster != "shop" || machines[0].Alarm != string(reason.IdentityCloned) {
		t.Errorf("operators see %+v and %+v", info.Alarms, machines)
	}
	first.stop()
	g.Wait("it can be cleared", func() bool {
		_, err := g.Admin.ClearAlarms(t.Context(), "shop")
		return err == nil && len(alarms(t, g, reason.IdentityCloned)) == 0
	})
}

// TestACopyThatComesBackIsAnAlarm: a process that a newer one has replaced, and that was away meanwhile, is refused and told of.
func TestACopyThatComesBackIsAnAlarm(t *testing.T) {
	g := gatewaytest.Start(t)
	id := mustEnroll(t, g, "shop")
	old := wire.Hello{Version: wire.Version, Instance: "0123456789abcdef"}
	first, err := greetAs(t, g, id, 0, old)
	if err != nil || first.Epoch == 0 {
		t.Fatalf("the first process: %+v, %v", first, err)
	}
	old.Epoch = first.Epoch
	g.Cut() // it does not come back by itself
	g.WaitConnected("shop", false)
	runAgent(t, id, nil)
	g.WaitConnected("shop", true)
	if found := alarms(t, g, reason.IdentityCloned); len(found) > 0 {
		t.Fatalf("a process in place of one that was gone is an alarm: %+v", found)
	}
	if again, err := greetAs(t, g, id, 0, old); again.Epoch != 0 {
		t.Errorf("the old process is let in: %+v, %v", again, err)
	}
	g.Wait("the alarm", func() bool { return len(alarms(t, g, reason.IdentityCloned)) == 1 })
}

// lockedBuffer takes a log.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// A token that was stolen is of no use after its first use, which is told; its secret is nowhere to be read.
func TestStolenJoinToken(t *testing.T) {
	g := gatewaytest.Start(t)
	log := &lockedBuffer{}
	g.Stop()
	g.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	g.Start()
	token := g.Token("shop")
	if _, err := enroll(t, g, t.TempDir(), "shop", token); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := enroll(t, g, t.TempDir(), "shop", token); !reason.Is(err, reason.TokenUsed) {
			t.Errorf("the thief gets %v", err)
		}
	}
	wrong := token
	wrong.Secret = strings.Repeat("A", len(token.Secret))
	if _, err := enroll(t, g, t.TempDir(), "shop", wrong); !reason.Is(err, reason.TokenUnknown) {
		t.Errorf("who guesses gets %v", err)
	}
	found := alarms(t, g, reason.TokenUsed)
	if len(found) != 1 || found[0].Count != 2 || found[0].Cluster != "shop" || found[0].Subject != token.ID || !strings.Contains(found[0].Evidence, "127.0.0.1") {
		t.Errorf("got %+v", found)
	}
	g.Stop()
	if strings.Contains(log.String(), token.Secret) || !strings.Contains(log.String(), token.ID) {
		t.Error("the log holds the secret, or tells nothing of the token")
	}
	private(t, g.Data, token.Secret)
	for _, file := range []string{"/proc/self/cmdline", "/proc/self/environ"} {
		if raw, err := os.ReadFile(file); err == nil && bytes.Contains(raw, []byte(token.Secret)) {
			t.Errorf("the secret is in %s", file)
		}
	}
}

// cutWithin is the time in which nothing may be left of what was revoked.
const cutWithin = 5 * time.Second

// Within 5 s of the command nothing of a revoked machine is left: neither its session nor what runs on it, nor can it come back.
func TestRevokeEndsWhatRuns(t *testing.T) {
	road := build(t)
	watch, err := road.user.client.Do(road.user.request(http.MethodGet, "/watch", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = watch.Body.Close() }()
	road.server.next <- "one"
	line := make([]byte, 4)
	if _, err := io.ReadFull(watch.Body, line); err != nil || string(line) != "one\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	exec, err := tls.Dial("tcp", road.door.Address, &tls.Config{RootCAs: road.user.client.Transport.(*http.Transport).TLSClientConfig.RootCAs, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = exec.Close() }()
	_, _ = fmt.Fprintf(exec, "GET /v1/clusters/shop/upgrade/SPDY_3.1 HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n", road.user.token)
	_ = exec.SetReadDeadline(time.Now().Add(time.Minute))
	got := make([]byte, 0, 1024)
	for _, end := range []string{"\r\n\r\n", "ping"} {
		for part := make([]byte, 512); !bytes.HasSuffix(got, []byte(end)); {
			n, err := exec.Read(part)
			if got = append(got, part[:n]...); err != nil {
				t.Fatalf("got %q, %v", got, err)
			}
		}
		_, _ = io.WriteString(exec, "ping")
	}

	began := time.Now()
	if _, err := road.gateway.Admin.RevokeCluster(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	_ = exec.SetReadDeadline(began.Add(cutWithin))
	if _, err := io.Copy(io.Discard, exec); os.IsTimeout(err) {
		t.Errorf("the command still runs after %s", cutWithin)
	}
	ended := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, watch.Body); ended <- err }()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("a watch that was cut ends well")
		}
	case <-time.After(time.Until(began.Add(cutWithin))):
		t.Errorf("the watch still runs after %s", cutWithin)
	}
	road.agent.reason(road.gateway, string(reason.IdentityRevoked))
	road.door.WaitConnected("shop", false)
	if info, _ := road.door.Cluster("shop"); !info.Revoked {
		t.Errorf("got %+v", info)
	}
	if status, _ := road.user.get("/echo"); status != http.StatusServiceUnavailable {
		t.Errorf("a user gets %d", status)
	}
	if _, err := road.gateway.Admin.RevokeCluster(t.Context(), "none"); !reason.Is(err, reason.ClusterUnknown) {
		t.Errorf("got %v", err)
	}
}

// TestRevokedMachineDoesNotComeBack: it is refused at every door when it comes back, for who stole its key does not heed a goodbye.
func TestRevokedMachineDoesNotComeBack(t *testing.T) {
	g := gatewaytest.Start(t)
	id := mustEnroll(t, g, "shop")
	if _, err := g.Admin.RevokeCluster(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	r := tunnel.NewReporter(id, nil, slog.New(slog.DiscardHandler))
	r.Send(wire.Event{Kind: "step"})
	if err := r.Close(t.Context()); !reason.Is(err, reason.IdentityRevoked) {
		t.Fatalf("its events get %v", err)
	}
	a := runAgent(t, id, nil)
	a.reason(g, string(reason.IdentityRevoked))
	if info, _ := g.Cluster("shop"); info.Connected {
		t.Errorf("got %+v", info)
	}
}

// A machine that does not take the goodbye is cut off all the same.
func TestRevokeDoesNotWaitForTheAgent(t *testing.T) {
	g := gatewaytest.Start(t)
	id := mustEnroll(t, g, "shop")
	conn, err := tls.Dial("tcp", g.Address, id.TLS("pipeops-tunnel/1"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	request := "POST " + wire.PathHeartbeat + " HTTP/1.1\r\nHost: gateway\r\nContent-Length: 2\r\n\r\n{}"
	frame := []byte{0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, byte(len(request))} // data of stream 1, which it opens: a session begins with the first word
	if _, err := conn.Write(append(frame, request...)); err != nil {
		t.Fatal(err)
	}
	g.WaitConnected("shop", true)
	began := time.Now()
	if _, err := g.Admin.RevokeCluster(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(began.Add(cutWithin))
	if _, err := io.Copy(io.Discard, conn); os.IsTimeout(err) {
		t.Errorf("the connection is up after %s", cutWithin)
	}
}
