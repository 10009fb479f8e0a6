package gateway_test

import (
	"bytes"
	"crypto/tls"
	"io/fs"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/transport"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func TestEnroll(t *testing.T) {
	g := gatewaytest.Start(t)
	token := g.Token("")
	dir := filepath.Join(t.TempDir(), "identity")
	if _, err := identity.Load(dir); !reason.Is(err, reason.IdentityMissing) {
		t.Errorf("before: %v", err)
	}
	id, err := enroll(t, g, dir, "shop", token)
	if err != nil {
		t.Fatal(err)
	}
	if info, ok := g.Cluster("shop"); !ok || info.ID != id.ClusterID() || info.Connected {
		t.Errorf("the gateway knows %+v", info)
	}
	again, err := identity.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if again.ClusterID() != id.ClusterID() || again.Cluster() != "shop" || again.Gateway() != g.Address || !again.Expires().Equal(id.Expires()) {
		t.Errorf("loaded another identity: %s %s %s", again.ClusterID(), again.Cluster(), again.Gateway())
	}
	private(t, dir, token.Secret)
	private(t, g.Data, token.Secret)
}

// private checks that a folder and its files are their owner's only, and hold no secret.
func private(t *testing.T, dir, secret string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 && path != dir {
			t.Errorf("%s is %s", path, info.Mode())
		}
		if !d.Type().IsRegular() {
			return nil
		}
		raw, err := os.ReadFile(path)
		if bytes.Contains(raw, []byte(secret)) {
			t.Errorf("%s holds the token's secret", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestEnrollAgainWithTheSameTokenAndKey(t *testing.T) {
	g := gatewaytest.Start(t)
	token := g.Token("")
	dir := t.TempDir()
	first, err := enroll(t, g, dir, "shop", token)
	if err != nil {
		t.Fatal(err)
	}
	// As if the machine had crashed between the gateway's answer and the write.
	if err := os.Remove(filepath.Join(dir, "identity.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := identity.Load(dir); !reason.Is(err, reason.IdentityMissing) {
		t.Errorf("half an identity: %v", err)
	}
	second, err := enroll(t, g, dir, "shop", token)
	if err != nil {
		t.Fatal(err)
	}
	if first.ClusterID() != second.ClusterID() {
		t.Error("the same machine became another cluster")
	}
	if _, err := enroll(t, g, dir, "other", token); !reason.Is(err, reason.TokenUsed) {
		t.Errorf("the same token for another name: %v", err)
	}
	if _, err := enroll(t, g, dir, "shop", g.Token("")); err != nil {
		t.Errorf("the same machine with a new token: %v", err)
	}
}

// TestLifeOfTokens: an hour, and a week at most.
func TestLifeOfTokens(t *testing.T) {
	g := gatewaytest.Start(t)
	for ttl, want := range map[time.Duration]time.Duration{0: time.Hour, time.Second: time.Second, 7 * 24 * time.Hour: 7 * 24 * time.Hour} {
		made, err := g.Admin.CreateToken(t.Context(), "", ttl)
		if err != nil {
			t.Fatal(err)
		}
		if life := made.Expires.Sub(made.Created); life != want {
			t.Errorf("%s is asked for, and it lives for %s", ttl, life)
		}
	}
	for _, ttl := range []time.Duration{-time.Second, -1, 7*24*time.Hour + time.Second} {
		if _, err := g.Admin.CreateToken(t.Context(), "", ttl); !reason.Is(err, reason.Usage) {
			t.Errorf("%s: %v", ttl, err)
		}
	}
}

func TestEnrollRefusals(t *testing.T) {
	g := gatewaytest.Start(t)
	other := gatewaytest.Start(t)
	used := g.Token("")
	if _, err := enroll(t, g, t.TempDir(), "taken", used); err != nil {
		t.Fatal(err)
	}
	short, err := g.Admin.CreateToken(t.Context(), "", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	expired, err := wire.ParseToken(short.Secret)
	if err != nil {
		t.Fatal(err)
	}
	g.Wait("the token has expired", func() bool { return time.Now().After(short.Expires) })
	guess := g.Token("")
	guess.Secret = wire.NewToken(nil).Secret

	tests := []struct {
		name    string
		cluster string
		token   wire.Token
		want    reason.Code
	}{
		{"used", "new", used, reason.TokenUsed},
		{"expired", "new", expired, reason.TokenExpired},
		{"guessed secret", "new", guess, reason.TokenUnknown},
		{"unknown", "new", wire.Token{ID: "0123456789abcdef", Secret: guess.Secret, CA: guess.CA}, reason.TokenUnknown},
		{"name taken", "taken", g.Token(""), reason.ClusterNameTaken},
		{"for another name", "new", g.Token("mine"), reason.GatewayRefused},
		{"bad name", "Not_A_Name", g.Token(""), reason.Usage},
		{"another gateway's token", "new", other.Token(""), reason.GatewayUntrusted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := enroll(t, g, dir, tt.cluster, tt.token)
			if !reason.Is(err, tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), tt.token.Secret) {
				t.Error("the error shows the secret")
			}
			if _, err := identity.Load(dir); !reason.Is(err, reason.IdentityMissing) {
				t.Errorf("an identity is left: %v", err)
			}
		})
	}
	if _, ok := g.Cluster("new"); ok {
		t.Error("a refused enrolment left a cluster")
	}
}

func TestBoundTokenReplacesTheKeyOfACluster(t *testing.T) {
	g := gatewaytest.Start(t)
	old := mustEnroll(t, g, "shop")
	a := runAgent(t, old, nil)
	g.WaitConnected("shop", true)
	fresh, err := enroll(t, g, t.TempDir(), "shop", g.Token("shop"))
	if err != nil {
		t.Fatal(err)
	}
	if fresh.ClusterID() != old.ClusterID() {
		t.Error("the cluster has another id now")
	}
	a.reason(g, string(reason.IdentityRevoked))
	runAgent(t, fresh, nil)
	g.WaitConnected("shop", true)
}

func TestEnrollWithWhatIsNoGateway(t *testing.T) {
	g := gatewaytest.Start(t)
	plain := httptest.NewServer(nil)
	defer plain.Close()
	foreign := httptest.NewTLSServer(nil)
	defer foreign.Close()
	held, err := net.Dial("tcp", plain.Listener.Addr().String()) // nobody listens at its own port, and nobody else gets it meanwhile
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Close() }()
	silent := tlsSilent(t)
	for _, tt := range []struct {
		name, address string
		want          reason.Code
		evidence      string
	}{
		{"nobody", held.LocalAddr().String(), reason.GatewayUnreachable, "refused"},
		{"plain HTTP", plain.Listener.Addr().String(), reason.GatewayProtocol, "not by TLS"},
		{"another CA", foreign.Listener.Addr().String(), reason.GatewayUntrusted, "issued by O=Acme Co"},
		{"hangs up", silent, reason.GatewayUnreachable, ""},
		{"no address", "http://example.com", reason.Usage, "want host"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := identity.Enroll(t.Context(), identity.Options{Dir: t.TempDir(), Gateway: tt.address, Token: g.Token(""), Cluster: "shop"})
			if !reason.Is(err, tt.want) {
				t.Fatalf("got %v, want %s", err, tt.want)
			}
			has(t, err.Error(), tt.evidence)
		})
	}
}

// tlsSilent accepts connections and closes them.
func tlsSilent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

func TestWrongClockIsNamed(t *testing.T) {
	g := gatewaytest.Start(t)
	_, err := identity.Enroll(t.Context(), identity.Options{
		Dir: t.TempDir(), Gateway: g.Address, Token: g.Token(""), Cluster: "shop",
		Transport: &transport.Dialer{Now: func() time.Time { return time.Now().AddDate(-3, 0, 0) }},
	})
	if !reason.Is(err, reason.HostClock) {
		t.Fatalf("got %v", err)
	}
	has(t, err.Error(), "clock of this machine")
	has(t, err.Error(), "and that of the gateway "+time.Now().UTC().Format("2006"))
}

func TestOnlyTLS13(t *testing.T) {
	g := gatewaytest.Start(t)
	conn, err := tls.Dial("tcp", g.Address, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	if err == nil {
		_ = conn.Close()
		t.Error("TLS 1.2 is accepted")
	}
}
