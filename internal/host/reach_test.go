package host

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// here is a road on which every name is this machine, and from which no other can be reached.
func here(t *testing.T) road {
	t.Helper()
	r := newRoad()
	r.timeout, r.proxied = 30*time.Second, false
	r.lookup = func(_ context.Context, network, _ string) ([]netip.Addr, error) {
		if network == "ip4" {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
		return []netip.Addr{netip.IPv6Loopback()}, nil
	}
	dial := r.dial
	r.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if a, err := netip.ParseAddrPort(address); err != nil || !a.Addr().IsLoopback() {
			t.Errorf("%s is dialled", address)
			return nil, errors.ErrUnsupported
		}
		return dial(ctx, network, address)
	}
	return r
}

// listen opens one port of both families, or of one only.
func listen(t *testing.T, families ...string) (port string, all []net.Listener) {
	t.Helper()
	var err error
	for range 20 { // a port that is free in one family may be taken in the other
		port, all = "0", nil
		for _, family := range families {
			host := map[string]string{"4": "127.0.0.1", "6": "::1"}[family]
			var l net.Listener
			if l, err = new(net.ListenConfig).Listen(t.Context(), "tcp"+family, net.JoinHostPort(host, port)); err != nil {
				break
			}
			all = append(all, l)
			_, port, _ = net.SplitHostPort(l.Addr().String())
		}
		if err == nil {
			break
		}
		for _, l := range all {
			_ = l.Close()
		}
	}
	if err != nil {
		t.Skipf("this machine lacks a family: %v", err)
	}
	for _, l := range all {
		t.Cleanup(func() { _ = l.Close() })
	}
	return port, all
}

// serve answers with this Date on all listeners.
func serve(t *testing.T, all []net.Listener, date string) {
	t.Helper()
	for _, l := range all {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodHead || r.URL.Path != "/" {
				t.Errorf("%s %s is asked", r.Method, r.URL)
			}
			w.Header()["Date"] = nil
			if date != "" {
				w.Header().Set("Date", date)
			}
			http.Redirect(w, r, "https://192.0.2.1/", http.StatusFound) // not followed
		}))
		_ = s.Listener.Close()
		s.Listener = l
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		s.StartTLS()
		t.Cleanup(s.Close)
	}
}

func visitOne(t *testing.T, r road, address string) Endpoint {
	t.Helper()
	return r.visit(t.Context(), []Endpoint{{Name: ReachGateway, Address: address}})[0]
}

func TestReachBothFamilies(t *testing.T) {
	port, all := listen(t, "4", "6")
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	serve(t, all, now.Add(-3*time.Minute).Format(http.TimeFormat))
	r := here(t)
	r.now = func() time.Time { return now.Add(300 * time.Millisecond) }
	got := visitOne(t, r, "gateway.example:"+port)
	if n, ok := got.PathMTU.Get(); ok && n < 1280 || ok != livesOnLinux() {
		t.Errorf("path MTU %+v", got.PathMTU)
	}
	got.PathMTU = Known[int]{}
	want := Endpoint{Name: ReachGateway, Address: "gateway.example:" + port, IPv4: Is(true), IPv6: Is(true), Skew: Is(180.0)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func livesOnLinux() bool { _, err := liveUname(); return err == nil }

func TestReachOneFamily(t *testing.T) {
	port, all := listen(t, "4")
	serve(t, all, time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
	r := here(t)
	for _, address := range []string{"gateway.example:" + port, "127.0.0.1:" + port} {
		got := visitOne(t, r, address)
		if got.IPv4 != Is(true) || got.IPv6 != Is(false) || !got.Skew.OK || got.Skew.Value > -3500 || got.Skew.Value < -3700 {
			t.Errorf("%s: %+v", address, got)
		}
	}
	if got := visitOne(t, r, "[::1]:"+port); got.IPv4 != Is(false) || got.IPv6 != Is(false) || got.Skew.OK {
		t.Errorf("IPv6 literal: %+v", got)
	}
	r.proxied = true
	if got := visitOne(t, r, "127.0.0.1:"+port); got.IPv4 != Is(true) || got.Skew.OK {
		t.Errorf("behind a proxy: %+v", got)
	}
}

// TestReachBadDate: an answer without a time, or with one that is none, says nothing.
func TestReachBadDate(t *testing.T) {
	for _, date := range []string{"", "tomorrow", strings.Repeat("x", 2*maxAnswer)} {
		port, all := listen(t, "4")
		serve(t, all, date)
		if got := visitOne(t, here(t), "127.0.0.1:"+port); got.IPv4 != Is(true) || got.Skew.OK {
			t.Errorf("%.10q: %+v", date, got)
		}
	}
}

func TestReachNothing(t *testing.T) {
	port, all := listen(t, "4", "6")
	for _, l := range all {
		_ = l.Close()
	}
	if got := visitOne(t, here(t), "gateway.example:"+port); got.IPv4 != Is(false) || got.IPv6 != Is(false) || got.PathMTU.OK || got.Skew.OK {
		t.Errorf("closed port: %+v", got)
	}
	for _, address := range []string{"", "gateway.example", "gateway.example:0", "gateway.example:x", ":443", "gateway.example:70000", "\x00:443"} {
		r := here(t)
		r.lookup = func(context.Context, string, string) ([]netip.Addr, error) { return nil, errors.ErrUnsupported }
		if got := visitOne(t, r, address); got != (Endpoint{Name: ReachGateway, Address: address}) {
			t.Errorf("%q: %+v", address, got)
		}
	}
	r := here(t)
	r.lookup = func(_ context.Context, network, host string) ([]netip.Addr, error) {
		return nil, &net.DNSError{Name: host, IsNotFound: network == "ip6", IsTemporary: network == "ip4"}
	}
	if got := visitOne(t, r, "gateway.example:443"); got.IPv4.OK || got.IPv6 != Is(false) {
		t.Errorf("name servers that fail: %+v", got)
	}
}

// TestReachIsBounded: a server that takes connections and says nothing, and name servers and paths that swallow everything.
func TestReachIsBounded(t *testing.T) {
	port, _ := listen(t, "4")
	r := here(t)
	r.timeout = 200 * time.Millisecond
	dial := r.dial
	r.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if network == "tcp6" {
			<-ctx.Done()
			return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
		}
		return dial(context.WithoutCancel(ctx), network, address)
	}
	start := time.Now()
	got := visitOne(t, r, "gateway.example:"+port)
	if got.IPv4 != Is(true) || got.IPv6.OK || got.Skew.OK {
		t.Errorf("a dead server: %+v", got)
	}
	r.lookup = func(ctx context.Context, _, _ string) ([]netip.Addr, error) { <-ctx.Done(); return nil, ctx.Err() }
	if got := visitOne(t, r, "gateway.example:"+port); got.IPv4.OK || got.IPv6.OK {
		t.Errorf("dead name servers: %+v", got)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	if reachTimeout >= ProbeTimeout {
		t.Error("the probe is given up before it ends")
	}
}

// TestReachIsAsked: nobody is asked without the permission, and never for a captured machine.
func TestReachIsAsked(t *testing.T) {
	captured := load(t, t.TempDir())
	captured.Network = true
	for _, s := range []*System{Live(), captured} {
		part, err := reachProbe().Run(t.Context(), s)
		var f Facts
		part(&f)
		if err != nil || f.Reach != nil {
			t.Errorf("%v, %v", f.Reach, err)
		}
	}
	if n := len(endpoints("")); n != 2 {
		t.Errorf("%d endpoints", n)
	}
	if all := endpoints("gateway.example:443"); len(all) != 3 || all[2] != (Endpoint{Name: ReachGateway, Address: "gateway.example:443"}) {
		t.Errorf("%+v", all)
	}
}

func TestReachRoundTrip(t *testing.T) {
	want := Facts{Reach: []Endpoint{{Name: "a", Address: "b:1", IPv4: Is(true), IPv6: Is(false), PathMTU: Is(1400), Skew: Is(-61.0)}, {Name: "c"}}}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Facts
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Reach, got.Reach); diff != "" {
		t.Error(diff)
	}
}

func TestReachText(t *testing.T) {
	f := Facts{Reach: []Endpoint{
		{Name: ReachReleases, IPv4: Is(true), PathMTU: Is(1400), Skew: Is(180.0)},
		{Name: ReachImages, IPv4: Is(false), IPv6: Is(true), Skew: Is(-5.0)},
		{Name: "x", IPv4: Is(true), IPv6: Is(true), Skew: Is(0.0)}, {Name: "y", IPv4: Is(false), IPv6: Is(false)}, {Name: ReachGateway},
	}}
	want := "releases over IPv4, packets of 1400 bytes, our clock is 180 s ahead; images over IPv6, our clock is 5 s behind; " +
		"x over IPv4 and IPv6; y not at all; gateway unknown"
	if got := f.reach(); got != want {
		t.Errorf("%q", got)
	}
	if strings.Contains((Facts{}).Text(), "Reach") {
		t.Error("nobody was asked")
	}
}
