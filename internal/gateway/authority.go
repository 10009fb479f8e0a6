package gateway

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	caFile    = "ca.pem"
	caKeyFile = "ca-key.pem"

	caLife     = 10 * 365 * 24 * time.Hour
	serverLife = 90 * 24 * time.Hour
	// clientLife is short so that a stolen certificate is soon worth nothing; agents renew at two thirds.
	clientLife = 24 * time.Hour
	// renewGrace is how long after its end a certificate still proves the key well enough to ask for a new one: machines
	// are switched off over weekends and holidays.
	renewGrace = 90 * 24 * time.Hour
	// skew is by how much clocks may differ.
	skew = 5 * time.Minute
)

// authority is the gateway's private CA. It certifies the gateway itself and the agents, and nothing else trusts it.
type authority struct {
	cert  *x509.Certificate
	key   crypto.Signer
	names []string // of the gateway: host names and addresses
	now   func() time.Time

	mu     sync.Mutex
	server *tls.Certificate
	asker  *tls.Certificate // by which this gateway asks others
}

// openAuthority reads the CA in dir or makes one.
func openAuthority(dir string, names []string, now func() time.Time) (*authority, error) {
	a := &authority{names: names, now: now}
	key, err := loadKey(filepath.Join(dir, caKeyFile))
	if err != nil {
		return nil, fmt.Errorf("cannot get the CA's key: %w", err)
	}
	a.key = key
	path := filepath.Join(dir, caFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		raw, err = a.makeCA()
		if err == nil {
			err = replace(path, raw)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot get the CA: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("cannot get the CA: %s holds no PEM", path)
	}
	if a.cert, err = x509.ParseCertificate(block.Bytes); err != nil {
		return nil, fmt.Errorf("cannot get the CA: %w", err)
	}
	if !key.PublicKey.Equal(a.cert.PublicKey) {
		return nil, fmt.Errorf("cannot use the CA: %s and %s do not belong together", caFile, caKeyFile)
	}
	return a, nil
}

// loadKey reads a private key or makes one. It is on disk before the certificate is: a crash between them repeats.
func loadKey(path string) (*ecdsa.PrivateKey, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		return key, replace(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(raw); block != nil {
		if parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if key, ok := parsed.(*ecdsa.PrivateKey); ok {
				return key, nil
			}
		}
	}
	return nil, fmt.Errorf("%s holds no ECDSA key", path) // a cause could quote it
}

func replace(path string, data []byte) error {
	return atomicfile.Write(path, 0o600, data)
}

func (a *authority) makeCA() ([]byte, error) {
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: wire.AuthorityName},
		NotBefore:             a.now().Add(-skew),
		NotAfter:              a.now().Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
}

func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[0] &= 0x7f // positive
	return new(big.Int).SetBytes(b[:])
}

// pem returns the CA's certificate.
func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

// serverCertificate returns the certificate of the listener: a new one at every start, and when a third of its life is left.
func (a *authority) serverCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.server != nil && a.now().Before(a.server.Leaf.NotAfter.Add(-serverLife/3)) {
		return a.server, nil
	}
	certificate, err := a.certifyServer(append([]string{"127.0.0.1", "::1", wire.GatewayName, "localhost"}, a.names...))
	if err == nil {
		a.server = certificate
	}
	return certificate, err
}

// certifyServer makes a server certificate for names and addresses.
func (a *authority) certifyServer(names []string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: wire.GatewayName},
		NotBefore:    a.now().Add(-skew),
		NotAfter:     a.now().Add(serverLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("cannot certify the gateway: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("cannot certify the gateway: %w", err)
	}
	// The CA goes along, so that a machine that has only its digest can find it in the handshake.
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// certify makes a client certificate for the key of a machine. One of a machine that enrolled its cluster names no machine:
// agents that know of one machine per cluster only would not take it.
func (a *authority) certify(clusterID, machine string, key any) (string, error) {
	uri, err := url.Parse(wire.MachineURI(clusterID, machine))
	if err != nil {
		return "", err
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: clusterID},
		NotBefore:    a.now().Add(-skew),
		NotAfter:     a.now().Add(clientLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:         []*url.URL{uri},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key, a.key)
	if err != nil {
		return "", fmt.Errorf("cannot certify the cluster: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), nil
}

// asGateway returns the certificate by which this run of a gateway, of the given id, asks others: a new one when a third of its life is
// left.
func (a *authority) asGateway(id string) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.asker != nil && a.now().Before(a.asker.Leaf.NotAfter.Add(-clientLife/3)) {
		return a.asker, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	uri, err := url.Parse(wire.GatewayURI(id))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: id},
		NotBefore:    a.now().Add(-skew),
		NotAfter:     a.now().Add(clientLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:         []*url.URL{uri},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("cannot certify the gateway: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("cannot certify the gateway: %w", err)
	}
	a.asker = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	return a.asker, nil
}

// verify is the handshake's check of the peer. A tunnel needs a certificate of ours; on HTTPS it is optional. One that
// has expired passes, for its holder may renew it: who asks for more must look at its end.
func (a *authority) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		if state.NegotiatedProtocol == wire.ALPN || state.NegotiatedProtocol == wire.ALPNGateway {
			return fmt.Errorf("%s needs a client certificate", state.NegotiatedProtocol)
		}
		return nil
	}
	leaf := state.PeerCertificates[0]
	now := a.now()
	between := state.NegotiatedProtocol == wire.ALPNGateway
	if !between && now.After(leaf.NotAfter) && now.Before(leaf.NotAfter.Add(renewGrace)) {
		now = leaf.NotAfter
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	switch {
	case err != nil:
	case between && gatewayOf(leaf) == "":
		err = errors.New("the client certificate names no gateway")
	case !between && clusterOf(leaf) == "":
		err = errors.New("the client certificate names no cluster")
	}
	return err
}

// gatewayOf returns the id of the gateway that a certificate names, or "".
func gatewayOf(leaf *x509.Certificate) string {
	if len(leaf.URIs) != 1 {
		return ""
	}
	id, ok := wire.ParseGatewayURI(leaf.URIs[0].String())
	if !ok {
		return ""
	}
	return id
}

// clusterOf returns the id of the cluster that a certificate names, or "".
func clusterOf(leaf *x509.Certificate) string {
	if len(leaf.URIs) != 1 {
		return ""
	}
	cluster, _, _ := wire.ParseMachineURI(leaf.URIs[0].String())
	return cluster
}

// machineOf returns the id of the machine that a certificate names, "" if it names none: the machine enrolled its cluster.
func machineOf(leaf *x509.Certificate) string {
	if len(leaf.URIs) != 1 {
		return ""
	}
	_, machine, _ := wire.ParseMachineURI(leaf.URIs[0].String())
	return machine
}

// requestKey returns the public key of a certificate request, which its sender has proved to own, and its digest.
func requestKey(text string) (key any, digest []byte, err error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, nil, errors.New("not a certificate request in PEM")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, nil, err
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, nil, err
	}
	if _, ok := csr.PublicKey.(*ecdsa.PublicKey); !ok {
		return nil, nil, errors.New("want an ECDSA key")
	}
	sum := sha256.Sum256(csr.RawSubjectPublicKeyInfo)
	return csr.PublicKey, sum[:], nil
}
