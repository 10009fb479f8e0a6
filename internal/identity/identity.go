// Package identity is who this machine is to its gateway: a private key that never leaves the machine, the certificate
// that the gateway gave for it, and the gateway's CA, the only one that is trusted. It lives in one folder (0700) of
// files (0600):
//
//	key.pem        the private key, ECDSA P-256 in PKCS #8, made before the first request to the gateway
//	identity.json  the rest: cluster, gateway, certificate chain, CA
//	gateways.json  where the gateways were when one of them last said it
//	joined.json    of a machine that joined a cluster: its servers, its version, and the token of k3s
//
// Each is replaced atomically, so that a crash leaves the old identity or the new one. An identity is never erased
// because a gateway refused it: a refusal is a state, and may be an error of the gateway.
package identity

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// document is identity.json.
type document struct {
	Version     int    `json:"version"`
	ClusterID   string `json:"cluster_id"`
	Cluster     string `json:"cluster"`
	Gateway     string `json:"gateway"` // host:port
	Certificate string `json:"certificate"`
	CA          string `json:"ca"`
	// Of a machine that joined a cluster that was there; empty for one that enrolled it.
	Machine string    `json:"machine,omitempty"`
	Role    wire.Role `json:"role,omitempty"`
	Node    string    `json:"node,omitempty"`
}

// Identity is a loaded identity. Its methods may be called concurrently.
type Identity struct {
	folder folder
	key    *ecdsa.PrivateKey

	mu      sync.RWMutex
	doc     document
	chain   tls.Certificate
	ca      *x509.Certificate
	renewAt time.Time
}

// Load reads the identity in dir. The error is IDENTITY_MISSING if this machine was never enrolled there, or not to the
// end: Enroll then goes on.
func Load(dir string) (*Identity, error) {
	f := folder(dir)
	raw, err := f.read(documentFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, reason.Newf(reason.IdentityMissing, "there is no %s", f.path(documentFile))
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the identity: %w", err)
	}
	key, err := f.key()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, reason.Newf(reason.IdentityMissing, "there is no %s", f.path(keyFile))
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the identity: %w", err)
	}
	var doc document
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("cannot read the identity in %s: %w", f.path(documentFile), err)
	}
	id := &Identity{folder: f, key: key}
	if err := id.use(doc); err != nil {
		return nil, fmt.Errorf("cannot use the identity in %s: %w", dir, err)
	}
	return id, nil
}

// use checks a document against the key and makes it the present one.
func (i *Identity) use(doc document) error {
	ca, err := parseCertificate(doc.CA)
	if err != nil {
		return fmt.Errorf("cannot read the gateway's CA: %w", err)
	}
	chain, err := parseChain(doc.Certificate, i.key)
	if err != nil {
		return err
	}
	leaf := chain.Leaf
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots:       pool,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		CurrentTime: leaf.NotAfter, // an expired certificate is still the one to renew with
	})
	if err != nil {
		return fmt.Errorf("cannot verify the certificate: %w", err)
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != wire.MachineURI(doc.ClusterID, doc.Machine) {
		return fmt.Errorf("the certificate does not name %s", wire.MachineURI(doc.ClusterID, doc.Machine))
	}
	if _, _, ok := wire.ParseMachineURI(leaf.URIs[0].String()); !ok || !wire.ValidName(doc.Cluster) || doc.Role != "" && !doc.Role.Known() {
		return fmt.Errorf("the names %.60q, %.40q and %.20q are not those of a cluster and a machine", doc.Cluster, leaf.URIs[0], doc.Role)
	}
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.doc, i.chain, i.ca = doc, chain, ca
	// At two thirds of the life, or up to a twelfth earlier: machines that were installed together renew apart.
	i.renewAt = leaf.NotBefore.Add(life*2/3 - rand.N(life/12+1))
	return nil
}

// ClusterID returns the id that the gateway gave to this machine's cluster.
func (i *Identity) ClusterID() string { return i.document().ClusterID }

// Cluster returns the name under which users know the cluster.
func (i *Identity) Cluster() string { return i.document().Cluster }

// Machine returns the id of this machine in its cluster, "" if it enrolled the cluster.
func (i *Identity) Machine() string { return i.document().Machine }

// Role returns what this machine is in its cluster. One that enrolled the cluster is a server.
func (i *Identity) Role() wire.Role {
	if role := i.document().Role; role != "" {
		return role
	}
	return wire.RoleServer
}

// Node returns the name of the Node that this machine joined as, "" if it enrolled the cluster.
func (i *Identity) Node() string { return i.document().Node }

// Gateway returns host:port of the gateway.
func (i *Identity) Gateway() string { return i.document().Gateway }

// Expires returns when the present certificate ends.
func (i *Identity) Expires() time.Time {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.chain.Leaf.NotAfter
}

// RenewAt returns when the present certificate should be renewed.
func (i *Identity) RenewAt() time.Time {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.renewAt
}

func (i *Identity) document() document {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.doc
}

// TLS returns the configuration by which this machine dials its gateway: TLS 1.3, the gateway's own CA and fixed name,
// the newest client certificate, and the given application protocols.
func (i *Identity) TLS(protocols ...string) *tls.Config {
	i.mu.RLock()
	defer i.mu.RUnlock()
	pool := x509.NewCertPool()
	pool.AddCert(i.ca)
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    pool,
		ServerName: wire.GatewayName,
		NextProtos: protocols,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			i.mu.RLock()
			defer i.mu.RUnlock()
			chain := i.chain
			return &chain, nil
		},
	}
}

// Config is TLS by another clock; it is a transport.Config.
func (i *Identity) Config(now func() time.Time, protocols ...string) *tls.Config {
	c := i.TLS(protocols...)
	c.Time = now
	return c
}

// Remove erases the identity in dir; it is no error if there is none.
func Remove(dir string) error {
	for _, name := range []string{documentFile, keyFile, joinedFile, gatewaysFile} {
		if err := os.Remove(folder(dir).path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove the identity: %w", err)
		}
	}
	return nil
}
