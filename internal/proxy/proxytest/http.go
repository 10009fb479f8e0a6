package proxytest

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
)

// HTTP runs a proxy that knows CONNECT.
func HTTP(t testing.TB, s Settings) *Proxy {
	t.Helper()
	return start(t, &Proxy{Settings: s}, nil, (*Proxy).connect)
}

// HTTPS runs one that is reached by TLS. Its certificate is of the CA in roots.
func HTTPS(t testing.TB, s Settings) (p *Proxy, roots *x509.CertPool) {
	t.Helper()
	ca, key := Authority(t, "proxy CA")
	cert, err := Certificate(ca, key, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(ca)
	return start(t, &Proxy{Settings: s}, &tls.Config{Certificates: []tls.Certificate{*cert}}, (*Proxy).connect), roots
}

// Inspecting runs one that opens TLS: whatever is asked for, it answers itself, with a certificate of an issuer of this name for the
// name that the client expects.
func Inspecting(t testing.TB, issuer string) *Proxy {
	t.Helper()
	p := new(Proxy)
	p.inspects, p.key = Authority(t, issuer)
	return start(t, p, nil, (*Proxy).connect)
}

func (p *Proxy) connect(conn net.Conn) {
	reader := bufio.NewReader(conn)
	r, err := http.ReadRequest(reader)
	if err != nil {
		return
	}
	p.note(r.Method + " " + r.Host)
	say := func(status int, header string) {
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\n%s\r\n", status, http.StatusText(status), header)
	}
	if p.User != "" && r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(p.User+":"+p.Password)) {
		say(http.StatusProxyAuthRequired, "Proxy-Authenticate: Basic realm=\"x\"\r\nProxy-Authenticate: Negotiate\r\nContent-Length: 0\r\n")
		return
	}
	if p.Status != 0 {
		say(p.Status, "Content-Length: 0\r\n")
		return
	}
	if p.inspects != nil {
		say(http.StatusOK, "")
		secured := tls.Server(conn, &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return Certificate(p.inspects, p.key, h.ServerName)
		}})
		_, _ = io.Copy(io.Discard, secured)
		return
	}
	target, ok := p.reach(r.Host)
	if !ok {
		say(http.StatusBadGateway, "Content-Length: 0\r\n")
		return
	}
	say(http.StatusOK, "Via: 1.1 proxytest\r\n")
	p.splice(conn, reader, target)
}

// Garbage runs a server that answers the first bytes of each connection with these, and returns its address.
func Garbage(t testing.TB, answer string) string {
	t.Helper()
	return start(t, new(Proxy), nil, func(_ *Proxy, conn net.Conn) {
		if _, err := conn.Read(make([]byte, 4096)); err == nil {
			_, _ = io.WriteString(conn, answer)
			_, _ = io.Copy(io.Discard, conn)
		}
	}).Address
}
