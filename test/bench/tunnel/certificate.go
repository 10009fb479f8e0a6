package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

func (r role) certificate() string { return filepath.Join(r.Folder, "certificate.pem") }
func (r role) key() string         { return filepath.Join(r.Folder, "key.pem") }

// writeCertificate makes the one certificate of a run, which is its own authority, for all addresses that a server listens at.
func writeCertificate(r role, addresses ...string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("cannot make a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench-tunnel"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IsCA: true, BasicConstraintsValid: true,
	}
	for _, a := range addresses {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(a))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("cannot make a certificate: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("cannot encode the key: %w", err)
	}
	return errors.Join(
		os.WriteFile(r.certificate(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(r.key(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

func serverTLS(r role) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(r.certificate(), r.key())
	if err != nil {
		return nil, fmt.Errorf("cannot load the certificate: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}, nil
}

func clientTLS(r role) (*tls.Config, error) {
	roots, err := authority(r)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(r.Tunnel)
	if err != nil {
		return nil, fmt.Errorf("cannot read the address of the tunnel: %w", err)
	}
	return &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS13}, nil
}

// authority is the one certificate as that of who issued it.
func authority(r role) (*x509.CertPool, error) {
	text, err := os.ReadFile(r.certificate())
	if err != nil {
		return nil, fmt.Errorf("cannot read the certificate: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, errors.New("there is no certificate in " + r.certificate())
	}
	return roots, nil
}
