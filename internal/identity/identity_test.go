package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const id1 = "00000000000000c1" // of the cluster of stored

// issuer is a CA that certifies clusters.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-1000 * time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
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
	return &issuer{cert, key}
}

func (i *issuer) issue(t testing.TB, key *ecdsa.PrivateKey, uri string, from, to time.Time) string {
	t.Helper()
	name, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: from, NotAfter: to, URIs: []*url.URL{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, i.cert, key.Public(), i.key)
	if err != nil {
		t.Fatal(err)
	}
	return text(der)
}

func text(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// identity makes a stored identity whose certificate is valid from and to these times.
func stored(t testing.TB, ca *issuer, from, to time.Time) (dir string, key *ecdsa.PrivateKey) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "identity")
	f := folder(dir)
	key, err := f.ensureKey()
	if err != nil {
		t.Fatal(err)
	}
	doc := document{
		Version: 1, ClusterID: id1, Cluster: "shop", Gateway: "gw:8443",
		Certificate: ca.issue(t, key, wire.ClusterURI+id1, from, to), CA: text(ca.cert.Raw),
	}
	if err := f.store(doc); err != nil {
		t.Fatal(err)
	}
	return dir, key
}

func TestRenew(t *testing.T) {
	ca := newIssuer(t)
	now := time.Now()
	dir, key := stored(t, ca, now.Add(-30*time.Hour), now.Add(-6*time.Hour))
	id, err := Load(dir)
	if err != nil {
		t.Fatalf("an expired identity must still load: %v", err)
	}
	if until := id.Expires(); !until.Before(now) {
		t.Errorf("expires %s", until)
	}
	post := func(certificate string, err error) Post {
		return func(_ context.Context, r wire.RenewRequest) (wire.RenewResponse, error) {
			block, _ := pem.Decode([]byte(r.CSR))
			if csr, e := x509.ParseCertificateRequest(block.Bytes); e != nil || !key.PublicKey.Equal(csr.PublicKey) {
				t.Errorf("the request is for another key: %v", e)
			}
			return wire.RenewResponse{Certificate: certificate}, err
		}
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string]string{
		"not PEM":         "x",
		"another key":     ca.issue(t, other, wire.ClusterURI+id1, now, now.Add(time.Hour)),
		"another cluster": ca.issue(t, key, wire.ClusterURI+"ffffffffffffffff", now, now.Add(time.Hour)),
		"another CA":      newIssuer(t).issue(t, key, wire.ClusterURI+id1, now, now.Add(time.Hour)),
		"older":           ca.issue(t, key, wire.ClusterURI+id1, now.Add(-50*time.Hour), now.Add(-20*time.Hour)),
	}
	for name, certificate := range bad {
		if err := id.Renew(t.Context(), post(certificate, nil)); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if err := id.Renew(t.Context(), post("", errors.New("the gateway is busy"))); err == nil {
		t.Error("a refusal is a success")
	}
	if again, err := Load(dir); err != nil || !again.Expires().Equal(id.Expires()) {
		t.Fatalf("a failed renewal changed the identity: %v", err)
	}
	if err := id.Renew(t.Context(), post(ca.issue(t, key, wire.ClusterURI+id1, now, now.Add(24*time.Hour)), nil)); err != nil {
		t.Fatal(err)
	}
	again, err := Load(dir)
	if err != nil || !again.Expires().After(now.Add(23*time.Hour)) {
		t.Errorf("on disk: %v", err)
	}
	used, err := id.TLS().GetClientCertificate(nil)
	if err != nil || !used.Leaf.NotAfter.Equal(again.Expires()) {
		t.Errorf("the next handshake uses an old certificate: %v", err)
	}
}

func TestRenewAtIsTwoThirdsOrALittleEarlier(t *testing.T) {
	ca := newIssuer(t)
	from := time.Now().Truncate(time.Second)
	dir, _ := stored(t, ca, from, from.Add(24*time.Hour))
	for range 50 {
		id, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		if at := id.RenewAt().Sub(from); at > 16*time.Hour || at < 14*time.Hour {
			t.Errorf("renewed after %s", at)
		}
	}
}

func TestKeepFreshRenewsWhenDueAndEndsWithItsContext(t *testing.T) {
	ca := newIssuer(t)
	now := time.Now()
	dir, key := stored(t, ca, now.Add(-20*time.Hour), now.Add(4*time.Hour))
	id, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	posted := 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		id.KeepFresh(ctx, slog.New(slog.DiscardHandler), func(context.Context, wire.RenewRequest) (wire.RenewResponse, error) {
			posted++
			return wire.RenewResponse{Certificate: ca.issue(t, key, wire.ClusterURI+id1, now, now.Add(24*time.Hour))}, nil
		})
	}()
	for deadline := time.Now().Add(5 * time.Second); id.Expires().Before(now.Add(23 * time.Hour)); {
		if time.Now().After(deadline) {
			t.Fatal("not renewed")
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-done
	if posted != 1 {
		t.Errorf("renewed %d times", posted)
	}
}

// TestAClockThatIsAheadRenewsSeldom: to a machine whose clock is ahead of the gateway's, every new certificate is due at once.
func TestAClockThatIsAheadRenewsSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newIssuer(t)
		now := time.Now()
		dir, key := stored(t, ca, now.Add(-20*time.Hour), now.Add(4*time.Hour))
		id, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		posted := 0
		id.KeepFresh(ctx, slog.New(slog.DiscardHandler), func(context.Context, wire.RenewRequest) (wire.RenewResponse, error) {
			if posted++; posted > 100 {
				cancel()
			}
			behind := time.Now().Add(-20 * time.Hour)
			return wire.RenewResponse{Certificate: ca.issue(t, key, wire.ClusterURI+id1, behind, behind.Add(24*time.Hour))}, nil
		})
		if posted < 1 || posted > 7 {
			t.Errorf("renewed %d times in an hour", posted)
		}
	})
}

// TestAnswersThatAreOfNoUse: what a gateway sends is taken only if the machine can load it when it starts again, and can show it.
func TestAnswersThatAreOfNoUse(t *testing.T) {
	ca := newIssuer(t)
	now := time.Now()
	dir, key := stored(t, ca, now, now.Add(time.Hour))
	old, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	good := ca.issue(t, key, wire.ClusterURI+id1, now, now.Add(24*time.Hour))
	for name, spoil := range map[string]func(*document){
		"more than a file may hold":  func(d *document) { d.Certificate += strings.Repeat(good, 200) },
		"the same when it is quoted": func(d *document) { d.Certificate += strings.Repeat("<", 12<<10) },
		"a name for a terminal":      func(d *document) { d.Cluster = "shop\x1b[2J" },
		"a role for a terminal":      func(d *document) { d.Role = "worker\x1b[2J" },
		"an id that is none": func(d *document) {
			d.ClusterID = "%1B"
			d.Certificate = ca.issue(t, key, wire.ClusterURI+d.ClusterID, now, now.Add(24*time.Hour))
		},
	} {
		id, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		doc := id.document()
		doc.Certificate = good
		spoil(&doc)
		if _, err := id.keep(wire.NewToken(ca.cert.Raw), doc); err == nil {
			t.Errorf("%s: it is taken", name)
		}
		if again, err := Load(dir); err != nil || again.document() != old.document() {
			t.Errorf("%s: then the identity is another one: %v", name, err)
		}
	}
}

func TestLoadRefusesWhatDoesNotBelongTogether(t *testing.T) {
	ca := newIssuer(t)
	now := time.Now()
	for name, spoil := range map[string]func(dir string) error{
		"another key": func(dir string) error {
			if err := os.Remove(filepath.Join(dir, keyFile)); err != nil {
				return err
			}
			_, err := folder(dir).ensureKey()
			return err
		},
		"no JSON": func(dir string) error { return os.WriteFile(filepath.Join(dir, documentFile), []byte("{"), 0o600) },
		"empty":   func(dir string) error { return os.WriteFile(filepath.Join(dir, documentFile), nil, 0o600) },
		"key cut": func(dir string) error { return os.WriteFile(filepath.Join(dir, keyFile), []byte("-----BEGIN"), 0o600) },
		"key kind": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, keyFile), []byte(text([]byte("x"))), 0o600)
		},
	} {
		dir, _ := stored(t, ca, now, now.Add(time.Hour))
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir); err == nil || reason.Is(err, reason.IdentityMissing) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	dir, _ := stored(t, ca, now, now.Add(time.Hour))
	if err := Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); !reason.Is(err, reason.IdentityMissing) {
		t.Errorf("removed: %v", err)
	}
	if err := Remove(dir); err != nil {
		t.Errorf("twice: %v", err)
	}
}

func TestAddress(t *testing.T) {
	good := map[string]string{
		"gw": "gw:8443", "gw:443": "gw:443", "https://gw": "gw:8443", "https://gw:1/": "gw:1", " 10.0.0.1 ": "10.0.0.1:8443",
		"[::1]": "[::1]:8443", "[fd00::1]:99": "[fd00::1]:99",
	}
	for in, want := range good {
		if got, err := Address(in); err != nil || got != want {
			t.Errorf("%q: got %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "http://gw", "https://", "https://gw/path", "https://user:pw@gw", "gw?x", "gw:port", "a b"} {
		if got, err := Address(in); !reason.Is(err, reason.Usage) {
			t.Errorf("%q: got %q, %v", in, got, err)
		}
	}
}
