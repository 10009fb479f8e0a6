package identity

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"golang.org/x/crypto/nacl/box"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// FuzzAnswers: whatever a gateway answers to an enrolment, a join or a renewal, what comes of it is the identity that there was, or one
// that the machine can load again, for its own key and by the CA that its token names; and its names steer no terminal.
func FuzzAnswers(f *testing.F) {
	ca, other := newIssuer(f), newIssuer(f)
	dir, key := stored(f, ca, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	token := wire.NewToken(ca.cert.Raw)
	public, private, err := box.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	const id, machine = "0123456789abcdef", "fedcba9876543210"
	from, to := time.Now().Add(-time.Minute), time.Now().Add(24*time.Hour)
	good := ca.issue(f, key, wire.MachineURI(id, ""), from, to)
	for _, answer := range []any{
		wire.EnrollResponse{ClusterID: id, Cluster: "shop", Certificate: good, CA: text(ca.cert.Raw)},
		wire.EnrollResponse{ClusterID: id, Cluster: "shop\x1b[2J", Certificate: good, CA: text(ca.cert.Raw)},
		wire.EnrollResponse{ClusterID: id, Cluster: "shop", Certificate: good + strings.Repeat("<", 12<<10), CA: text(ca.cert.Raw)},
		wire.EnrollResponse{ClusterID: id, Cluster: "shop", Certificate: other.issue(f, key, wire.MachineURI(id, ""), from, to), CA: text(other.cert.Raw)},
		wire.EnrollResponse{ClusterID: id, Cluster: "shop", Certificate: ca.issue(f, foreign, wire.MachineURI(id, ""), from, to), CA: text(ca.cert.Raw)},
		wire.JoinResponse{ClusterID: id, Cluster: "shop", Machine: machine, Role: wire.RoleWorker, Certificate: ca.issue(f, key, wire.MachineURI(id, machine), from, to), CA: text(ca.cert.Raw)},
		wire.RenewResponse{Certificate: ca.issue(f, key, wire.ClusterURI+id1, from, to)},
		wire.RenewResponse{Certificate: ca.issue(f, key, wire.ClusterURI+id1, from, to) + strings.Repeat(good, 60)},
	} {
		var raw bytes.Buffer
		lines := json.NewEncoder(&raw)
		lines.SetEscapeHTML(false)
		if err := lines.Encode(answer); err != nil {
			f.Fatal(err)
		}
		_, renewed := answer.(wire.RenewResponse)
		f.Add(renewed, raw.Bytes())
	}
	f.Fuzz(func(t *testing.T, renewed bool, raw []byte) {
		if len(raw) > maxAnswer {
			return
		}
		old, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		id := &Identity{folder: folder(filepath.Join(t.TempDir(), "identity")), key: key}
		keyPEM, err := folder(dir).read(keyFile)
		if err == nil {
			err = id.folder.write(keyFile, keyPEM)
		}
		if err == nil {
			err = id.folder.store(old.document())
		}
		if err != nil {
			t.Fatal(err)
		}
		var answer wire.JoinResponse // which has all fields of the others
		if json.Unmarshal(raw, &answer) != nil {
			return
		}
		if !renewed {
			if sealed, err := open(answer, public, private); err == nil && !fullToken.MatchString(sealed) {
				t.Errorf("opened %q", sealed)
			}
			_, err = id.keep(token, document{
				Version: wire.Version, ClusterID: answer.ClusterID, Cluster: answer.Cluster, Gateway: "gateway.example:8443", Certificate: answer.Certificate,
				CA: answer.CA, Machine: answer.Machine, Role: answer.Role,
			})
		} else {
			if err := id.use(old.document()); err != nil {
				t.Fatal(err)
			}
			err = id.Renew(t.Context(), func(context.Context, wire.RenewRequest) (wire.RenewResponse, error) {
				return wire.RenewResponse{Certificate: answer.Certificate}, nil
			})
		}
		again, loadErr := Load(string(id.folder))
		if loadErr != nil {
			t.Fatalf("%q, %v: what is kept cannot be loaded: %v", raw, err, loadErr)
		}
		switch {
		case err != nil && again.document() != old.document():
			t.Errorf("%q, %v: the identity is another one: %+v", raw, err, again.document())
		case !again.ca.Equal(ca.cert):
			t.Errorf("%q: another CA is trusted", raw)
		case err == nil && (again.document() != id.document() || !key.PublicKey.Equal(again.chain.Leaf.PublicKey)):
			t.Errorf("%q: loaded %+v, used %+v", raw, again.document(), id.document())
		}
		if names := again.Cluster() + again.ClusterID() + again.Machine() + string(again.Role()); strings.ContainsFunc(names, func(r rune) bool { return !unicode.IsPrint(r) }) || len(names) > 200 {
			t.Errorf("%q: it is called %q", raw, names)
		}
	})
}
