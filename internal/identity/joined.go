package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// joinedFile is the way into the cluster, with its token, so that a join which was killed goes on without a new node token.
const joinedFile = "joined.json"

// joinedDocument is joined.json.
type joinedDocument struct {
	Version    int                 `json:"version"`
	Role       wire.Role           `json:"role"`
	Servers    []string            `json:"servers"`
	K3sVersion string              `json:"k3s_version"`
	Settings   map[string][]string `json:"settings,omitempty"`
	Token      string              `json:"token"` // of k3s
	Told       time.Time           `json:"told,omitzero"`
}

// storeJoined keeps the way into the cluster. It comes before the identity, which says that the exchange was whole.
func (f folder) storeJoined(j Joined) error {
	raw, err := json.MarshalIndent(joinedDocument{
		Version: wire.Version, Role: j.Role, Servers: j.Servers, K3sVersion: j.K3sVersion, Settings: j.Settings, Token: j.k3sToken, Told: j.Told,
	}, "", "  ")
	if err == nil {
		err = f.write(joinedFile, append(raw, '\n'))
	}
	if err != nil {
		return fmt.Errorf("cannot store the way into the cluster: %w", err)
	}
	return nil
}

// LoadJoined returns the way into the cluster that this machine has joined, or is about to; it is an [fs.ErrNotExist] if there
// is none. Errors never hold the token.
func LoadJoined(dir string) (Joined, error) {
	f := folder(dir)
	raw, err := f.read(joinedFile)
	if err != nil {
		return Joined{}, fmt.Errorf("cannot read the way into the cluster: %w", err)
	}
	j, err := parseJoined(raw)
	if err != nil {
		return Joined{}, fmt.Errorf("cannot use %s: %w", f.path(joinedFile), err)
	}
	return j, nil
}

func parseJoined(raw []byte) (Joined, error) {
	var d joinedDocument
	if json.Unmarshal(raw, &d) != nil { // the cause could quote it
		return Joined{}, errors.New("it is damaged")
	}
	j := Joined{Role: d.Role, Told: d.Told, k3sToken: d.Token}
	j.Servers, j.K3sVersion, j.Settings = d.Servers, d.K3sVersion, d.Settings
	checked := j.JoinAnswer
	checked.Sealed = "AAAA" // what was sealed is open by now
	if err := checked.Validate(); err != nil {
		return Joined{}, err
	}
	if !d.Role.Known() || !fullToken.MatchString(d.Token) {
		return Joined{}, errors.New("it names no role, or no token of k3s")
	}
	return j, nil
}
