package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/transport"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// silent is a gateway that shakes hands and reads, but answers nothing; der is its certificate, which it has of itself.
func silent(t *testing.T) (dial func(context.Context, string, string) (net.Conn, error), der []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, DNSNames: []string{wire.GatewayName},
	}
	if der, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key); err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	return func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, tls.Server(there, config)) }()
		return here, nil
	}, der
}

// TestEnrollSaysHowFarItCame: a gateway that stays silent is told with what it stayed silent about.
func TestEnrollSaysHowFarItCame(t *testing.T) {
	for name, c := range map[string]struct {
		dial func(ctx context.Context, network, address string) (net.Conn, error)
		want string
	}{
		"no connection": {func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, "gateway.example:8443: no connection within 10s"},
		"refused": {func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("connection refused")
		}, "gateway.example:8443: connection refused"},
		"no handshake": {func(ctx context.Context, _, _ string) (net.Conn, error) {
			here, there := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, there) }()
			return here, nil
		}, "gateway.example:8443: no TLS handshake within 10s"},
		"no answer": {nil, "gateway.example:8443 was reached, but gave no answer in time: context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answerless, der := silent(t)
				token := wire.NewToken(der)
				if c.dial == nil {
					c.dial = answerless
				}
				_, err := Enroll(t.Context(), Options{Dir: t.TempDir(), Gateway: "gateway.example", Token: token, Cluster: "shop", Transport: &transport.Dialer{Dial: c.dial}})
				if !reason.Is(err, reason.GatewayUnreachable) || !strings.HasSuffix(err.Error(), c.want) {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

// TestTheTokenTrustsGatewaysOnly: of the CA that a token names only a certificate of the fixed name of gateways counts.
func TestTheTokenTrustsGatewaysOnly(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	for name, good := range map[string]bool{wire.GatewayName: true, "shop.example": false} {
		leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		here, there := net.Pipe()
		server := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{der, caDER}, PrivateKey: key}}}
		go func() { _, _ = io.Copy(io.Discard, tls.Server(there, server)) }()
		err = tls.Client(here, pinned(wire.NewToken(caDER), "gateway.example:8443")(time.Now)).HandshakeContext(t.Context())
		if (err == nil) != good {
			t.Errorf("%s: %v", name, err)
		}
		_ = here.Close()
	}
}
