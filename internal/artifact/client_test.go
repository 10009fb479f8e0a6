package artifact

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/pipeopshq/pipeops-agent/internal/proxy"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// names is a resolver for one name with these addresses.
func names(t *testing.T, addresses ...string) *net.Resolver {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var q dnsmessage.Message
			if q.Unpack(buf[:n]) != nil || len(q.Questions) != 1 {
				continue
			}
			a := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, RecursionAvailable: true}, Questions: q.Questions}
			for _, address := range addresses {
				ip := netip.MustParseAddr(address)
				head := dnsmessage.ResourceHeader{Name: q.Questions[0].Name, Type: q.Questions[0].Type, Class: dnsmessage.ClassINET, TTL: 1}
				switch {
				case ip.Is4() && head.Type == dnsmessage.TypeA:
					a.Answers = append(a.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: ip.As4()}})
				case ip.Is6() && head.Type == dnsmessage.TypeAAAA:
					a.Answers = append(a.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: ip.As16()}})
				}
			}
			if b, err := a.Pack(); err == nil {
				_, _ = conn.WriteTo(b, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// listen serves on one address, at a free port or at the given one.
func listen(t *testing.T, address string, h http.Handler) (port string) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
		t.Skip("this machine has no IPv6")
	}
	if err != nil {
		t.Fatal(err)
	}
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	srv.Start()
	t.Cleanup(srv.Close)
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port
}

// hole is a port of the address at which connections are neither made nor refused: its queue is full.
func hole(t *testing.T, address, port string) {
	fd, err := syscall.Socket(syscall.AF_INET6, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Skip("this machine has no IPv6")
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	n, err := net.LookupPort("tcp", port)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet6{Port: n, Addr: netip.MustParseAddr(address).As16()}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for { // until one more does not fit
		c, err := net.DialTimeout("tcp", net.JoinHostPort(address, port), 200*time.Millisecond)
		if err != nil {
			return
		}
		t.Cleanup(func() { c.Close() })
	}
}

func TestDualStack(t *testing.T) {
	x := setup(t, mb)
	for name, c := range map[string]struct {
		serve string   // where the mirror listens
		names []string // the addresses of its name
		hole  bool     // its IPv6 leads nowhere
	}{
		"IPv6 only":                       {serve: "[::1]", names: []string{"::1"}},
		"IPv4 only":                       {serve: "127.0.0.1", names: []string{"127.0.0.1"}},
		"both, only IPv6 listens":         {serve: "[::1]", names: []string{"127.0.0.1", "::1"}},
		"both, only IPv4 listens":         {serve: "127.0.0.1", names: []string{"::1", "127.0.0.1"}},
		"both, IPv6 has no route":         {serve: "127.0.0.1", names: []string{"2001:db8::1", "127.0.0.1"}},
		"both, packets over IPv6 go lost": {serve: "127.0.0.1", names: []string{"::1", "127.0.0.1"}, hole: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := x.good()
			port := listen(t, c.serve+":0", m)
			if c.hole {
				hole(t, "::1", port)
			}
			client := newClient(proxy.Proxy{}, names(t, c.names...))
			defer client.CloseIdleConnections()
			start := time.Now()
			d := Download{URLs: []string{"http://mirror.test:" + port + "/k3s"}, SHA256: x.d.SHA256, Dir: t.TempDir()}
			if err := (&Fetcher{Client: client}).Fetch(t.Context(), d, nil); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > 5*time.Second { // a connection has 10 s
				t.Errorf("it took %v", took)
			}
			if m.requests.Load() != 1 {
				t.Errorf("%d requests", m.requests.Load())
			}
		})
	}
}

// testProxy is a proxy that counts what it is asked for. It leads every name to one address.
type testProxy struct {
	to       string            // address of the mirror
	want     string            // Proxy-Authorization, "" is none
	asked    chan string       // CONNECT host:port, or GET http://...
	upstream http.RoundTripper // for plain http
}

func (p *testProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.asked <- r.Method + " " + r.URL.Scheme + r.Host
	if p.want != "" && r.Header.Get("Proxy-Authorization") != p.want {
		w.Header().Set("Proxy-Authenticate", "Basic")
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	if r.Method != http.MethodConnect {
		out := r.Clone(r.Context())
		out.RequestURI, out.URL.Host = "", p.to
		resp, err := p.upstream.RoundTrip(out)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
		return
	}
	to, err := net.Dial("tcp", p.to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer to.Close()
	from, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer from.Close()
	_, _ = io.WriteString(from, "HTTP/1.1 200 Connected\r\n\r\n")
	done := make(chan struct{})
	go func() { defer close(done); _, _ = io.Copy(to, from); _ = to.(*net.TCPConn).CloseWrite() }()
	_, _ = io.Copy(from, to)
	_ = from.Close()
	<-done
}

func (p *testProxy) calls() (all []string) {
	for {
		select {
		case c := <-p.asked:
			all = append(all, c)
		default:
			return all
		}
	}
}

func TestProxy(t *testing.T) {
	x := setup(t, mb)
	secure := httptest.NewTLSServer(x.mirror)
	defer secure.Close()
	at := func(s *httptest.Server) string { return s.Listener.Addr().String() }
	plain := httptest.NewServer(x.mirror)
	defer plain.Close()
	const password = "s3cret"
	for name, c := range map[string]struct {
		url     string
		proxy   proxy.Proxy // its addresses without the proxy's own
		auth    string
		asks    string // of the proxy
		refused string // "" is a download that works
		direct  bool
	}{
		"https":                      {url: "https://mirror.test/k3s", proxy: proxy.Proxy{HTTPS: "http://"}, asks: "CONNECT mirror.test:443"},
		"https, but only for http":   {url: "https://mirror.test:1/k3s", proxy: proxy.Proxy{HTTP: "http://"}, direct: true},
		"http":                       {url: "http://mirror.test/k3s", proxy: proxy.Proxy{HTTP: "http://"}, asks: "GET httpmirror.test"},
		"without a scheme":           {url: "https://mirror.test/k3s", proxy: proxy.Proxy{HTTPS: ""}, asks: "CONNECT mirror.test:443"},
		"with a password":            {url: "https://mirror.test/k3s", proxy: proxy.Proxy{HTTPS: "http://user:" + password + "@"}, auth: "Basic dXNlcjpzM2NyZXQ=", asks: "CONNECT mirror.test:443"},
		"wrong password":             {url: "https://mirror.test/k3s", proxy: proxy.Proxy{HTTPS: "http://user:" + password + "@"}, auth: "Basic b3RoZXI=", asks: "CONNECT mirror.test:443", refused: "407"},
		"wrong password, http":       {url: "http://mirror.test/k3s", proxy: proxy.Proxy{HTTP: "http://user:" + password + "@"}, auth: "Basic b3RoZXI=", asks: "GET httpmirror.test", refused: "407"},
		"NO_PROXY, a name":           {url: "https://mirror.test:1/k3s", proxy: proxy.Proxy{HTTPS: "http://", NoProxy: "mirror.test"}, direct: true},
		"NO_PROXY, a domain":         {url: "https://mirror.test:1/k3s", proxy: proxy.Proxy{HTTPS: "http://", NoProxy: ".test"}, direct: true},
		"NO_PROXY, a network":        {url: "https://10.43.0.10:1/k3s", proxy: proxy.Proxy{HTTPS: "http://", NoProxy: "10.43.0.0/16"}, direct: true},
		"NO_PROXY of other networks": {url: "https://10.99.0.10/k3s", proxy: proxy.Proxy{HTTPS: "http://", NoProxy: "10.43.0.0/16,.svc"}, asks: "CONNECT 10.99.0.10:443"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &testProxy{to: at(secure), want: c.auth, asked: make(chan string, 100), upstream: plain.Client().Transport}
			if strings.HasPrefix(c.url, "http:") {
				p.to = at(plain)
			}
			srv := httptest.NewServer(p)
			defer srv.Close()
			if c.proxy.HTTPS != "" || c.proxy.HTTP == "" {
				c.proxy.HTTPS += at(srv)
			}
			if c.proxy.HTTP != "" {
				c.proxy.HTTP += at(srv)
			}
			client := newClient(c.proxy, names(t))
			transport := client.Transport.(*http.Transport)
			transport.TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
			transport.TLSClientConfig.InsecureSkipVerify = true // the names are many
			defer client.CloseIdleConnections()
			var dialled []string
			dial := transport.DialContext
			transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				if address != at(srv) {
					dialled = append(dialled, address)
					return nil, errors.New("no way out but the proxy")
				}
				return dial(ctx, network, address)
			}
			f := &Fetcher{Client: client, Pause: x.f.Pause}
			d := Download{URLs: []string{c.url}, SHA256: x.d.SHA256, Dir: t.TempDir()}
			err := f.Fetch(t.Context(), d, nil)
			calls := p.calls()
			switch {
			case c.direct:
				if len(calls) > 0 || len(dialled) == 0 || err == nil {
					t.Errorf("the proxy was asked %v, dialled %v, %v", calls, dialled, err)
				}
			case len(calls) != 1 || calls[0] != c.asks || len(dialled) > 0:
				t.Errorf("the proxy was asked %v, not %s; dialled %v, %v", calls, c.asks, dialled, err)
			case c.refused == "" && err != nil:
				t.Error(err)
			case c.refused != "" && (!reason.Is(err, reason.DownloadFailed) || !strings.Contains(err.Error(), c.refused) || !strings.Contains(err.Error(), "proxy")):
				t.Errorf("err = %v", err)
			}
			if err != nil && strings.Contains(err.Error(), password) {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 5-9/10", "bytes */10", "bytes 5-9/*", "", "bytes 99999999999999999999-/"} {
		f.Add(s, int64(5), int64(10), http.StatusPartialContent)
	}
	f.Add("bytes */10", int64(10), int64(0), http.StatusRequestedRangeNotSatisfiable)
	f.Fuzz(func(t *testing.T, header string, from, want int64, status int) {
		if from < 0 || want < 0 || want > maxSize || status != http.StatusPartialContent && status != http.StatusRequestedRangeNotSatisfiable {
			return
		}
		st := &stream{from: from, resp: &http.Response{StatusCode: status, ContentLength: -1, Header: http.Header{"Content-Range": {header}}}}
		err := st.size(want)
		if err == nil && (st.total < 0 || st.total > maxSize || want > 0 && st.total != want || st.whole && from > maxSize) {
			t.Errorf("%q from %d, want %d: %+v", header, from, want, st)
		}
	})
}
