package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
)

const (
	keyFile      = "key.pem"
	documentFile = "identity.json"
	maxFile      = 64 << 10 // a chain of two certificates is 2 KiB
)

// folder is where an identity is kept.
type folder string

func (f folder) path(name string) string { return filepath.Join(string(f), name) }

func (f folder) read(name string) ([]byte, error) {
	file, err := os.Open(f.path(name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return io.ReadAll(io.LimitReader(file, maxFile))
}

// write replaces a file so that it is whole on disk when write returns, also after a power cut.
func (f folder) write(name string, data []byte) error {
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return err
	}
	if err := os.Chmod(string(f), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(f.path(name), 0o600, data)
}

// key reads the private key.
func (f folder) key() (*ecdsa.PrivateKey, error) {
	raw, err := f.read(keyFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM", f.path(keyFile))
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s holds no private key", f.path(keyFile)) // the cause could quote it
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s holds a key of another kind than ECDSA", f.path(keyFile))
	}
	return key, nil
}

// ensureKey reads the private key, or makes and stores one.
func (f folder) ensureKey() (*ecdsa.PrivateKey, error) {
	key, err := f.key()
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, f.write(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// request makes a certificate request; only its key means something.
func request(key *ecdsa.PrivateKey) (string, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), nil
}

func parseCertificate(text string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("not a certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// parseChain reads a certificate chain, leaf first, that belongs to the key.
func parseChain(text string, key *ecdsa.PrivateKey) (tls.Certificate, error) {
	chain := tls.Certificate{PrivateKey: key}
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		chain.Certificate = append(chain.Certificate, block.Bytes)
	}
	if len(chain.Certificate) == 0 {
		return chain, errors.New("no certificate in PEM")
	}
	leaf, err := x509.ParseCertificate(chain.Certificate[0])
	if err != nil {
		return chain, fmt.Errorf("cannot read the certificate: %w", err)
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return chain, errors.New("the certificate is for another key")
	}
	chain.Leaf = leaf
	return chain, nil
}
