package nodes

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
)

// CADigest is the digest of a CA bundle by which a token of k3s pins it (pkg/clientaccess of k3s): of one certificate that of the text
// as it is served, of several that of the root of the first, so that it stays the same when what is below the root is renewed. Where
// the first does not lead to a root as the CA of a server must, it is the whole text again.
func CADigest(bundle []byte) (string, error) {
	var all []*x509.Certificate
	for rest := bundle; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return "", fmt.Errorf("cannot read the CA of the cluster: %w", err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return "", errors.New("cannot read the CA of the cluster: there is no certificate")
	}
	digested := bundle
	if len(all) > 1 {
		roots, between := x509.NewCertPool(), x509.NewCertPool()
		for _, c := range all[1:] {
			if len(c.AuthorityKeyId) == 0 || string(c.AuthorityKeyId) == string(c.SubjectKeyId) {
				roots.AddCert(c)
			} else {
				between.AddCert(c)
			}
		}
		if chains, err := all[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between}); err == nil {
			chain := chains[0]
			digested = chain[len(chain)-1].Raw
		}
	}
	sum := sha256.Sum256(digested)
	return hex.EncodeToString(sum[:]), nil
}
