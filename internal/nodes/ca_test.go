package nodes

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

func asPEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestCADigest: as k3s has it: one certificate by its text, a chain by its root, unless it is none of a server's CA.
func TestCADigest(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	make := func(name string, parent *x509.Certificate, usage ...x509.ExtKeyUsage) *x509.Certificate {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), SubjectKeyId: []byte(name), ExtKeyUsage: usage}
		if parent == nil {
			parent = template
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	root := make("root", nil)
	between := make("between", root)
	hash := func(b []byte) string { sum := sha256.Sum256(b); return hex.EncodeToString(sum[:]) }
	single, chain := asPEM(root.Raw), asPEM(between.Raw)+asPEM(root.Raw)
	if got, err := CADigest([]byte(single)); err != nil || got != hash([]byte(single)) {
		t.Errorf("one: %s, %v", got, err)
	}
	if got, err := CADigest([]byte(chain)); err != nil || got != hash(root.Raw) {
		t.Errorf("a chain: %s, %v", got, err)
	}
	clients := asPEM(make("clients", root, x509.ExtKeyUsageClientAuth).Raw) + asPEM(root.Raw)
	if got, err := CADigest([]byte(clients)); err != nil || got != hash([]byte(clients)) {
		t.Errorf("a chain that is not for servers: %s, %v", got, err)
	}
	for _, bad := range []string{"", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if got, err := CADigest([]byte(bad)); err == nil {
			t.Errorf("%q: %s", bad, got)
		}
	}
}

// FuzzCADigest reads what a server that nobody has checked yet hands out.
func FuzzCADigest(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := CADigest(b); err == nil && len(got) != 64 {
			t.Errorf("%q: %q", b, got)
		}
	})
}
