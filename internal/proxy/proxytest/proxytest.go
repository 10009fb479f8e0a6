// Package proxytest runs proxies in the process of a test, on loopback: HTTP CONNECT, with and without TLS of its own, SOCKS5, and
// one that opens TLS to look into it. They lead to what a test names, under names that nobody else knows.
package proxytest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"maps"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// Settings say what a proxy does.
type Settings struct {
	Names    map[string]string // host:port that is asked for, and where it leads; what is not in it is refused
	User     string            // "" is no login
	Password string
	Status   int // of CONNECT: what is answered to all; 0 is as it should be. Of SOCKS5: the reply
}

// Proxy is a running proxy.
type Proxy struct {
	Settings
	Address string // host:port

	inspects *x509.Certificate // it opens TLS, and shows certificates of this issuer
	key      *ecdsa.PrivateKey
	running  sync.WaitGroup

	mu    sync.Mutex
	asked []string
	conns map[net.Conn]bool
}

// start runs p until the test ends, and handles each connection.
func start(t testing.TB, p *Proxy, secure *tls.Config, handle func(*Proxy, net.Conn)) *Proxy {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.Address, p.conns = listener.Addr().String(), map[net.Conn]bool{}
	p.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() {
				if !p.track(conn) {
					return
				}
				defer p.drop(conn)
				if secure != nil {
					conn = tls.Server(conn, secure)
				}
				handle(p, conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.Cut()
		p.mu.Lock()
		p.conns = nil
		p.mu.Unlock()
		p.running.Wait()
	})
	return p
}

// Cut closes every connection through the proxy.
func (p *Proxy) Cut() {
	p.mu.Lock()
	open := slices.Collect(maps.Keys(p.conns))
	p.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
}

// Asked returns what the proxy was asked for, in that order.
func (p *Proxy) Asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

func (p *Proxy) note(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, address)
}

func (p *Proxy) track(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		_ = c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) drop(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// reach connects to where a name leads.
func (p *Proxy) reach(address string) (net.Conn, bool) {
	target, ok := p.Names[address]
	if !ok {
		return nil, false
	}
	conn, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", target)
	return conn, err == nil
}

// splice carries bytes both ways until either side ends, and closes both.
func (p *Proxy) splice(client io.ReadWriteCloser, reader io.Reader, target net.Conn) {
	if !p.track(target) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(target, reader)
		_ = target.Close()
	})
	both.Go(func() {
		_, _ = io.Copy(client, target)
		_ = client.Close()
	})
	both.Wait()
	p.drop(target)
}

// Authority makes a CA with its key.
func Authority(t testing.TB, name string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// Certificate makes a certificate for a name or an address.
func Certificate(ca *x509.Certificate, key *ecdsa.PrivateKey, name string) (*tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, ca.Raw}, PrivateKey: key}, nil
}
