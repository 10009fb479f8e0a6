package artifact

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	kjson "sigs.k8s.io/json"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// LoadTrust returns the trust in a file, or the one that this program was built with if path is "": an empty one if there
// is none. The file decides what is installed as root, so it must be root's, and only root may write it; else it is a
// [reason.TrustFile].
func LoadTrust(path string) (manifest.Trust, error) {
	if path == "" {
		t, err := manifest.Compiled()
		if err != nil {
			return t, reason.New(reason.TrustFile, "the keys in this program", err).WithFix("build it again; packaging/dist.sh shows how the trust is compiled in")
		}
		return t, nil
	}
	return loadTrust(path, 0)
}

func loadTrust(path string, owner uint32) (manifest.Trust, error) {
	data, err := readOwned(path, owner, manifest.MaxTrust)
	if err != nil {
		return manifest.Trust{}, reason.New(reason.TrustFile, path, err)
	}
	t, err := manifest.ParseTrust(data)
	if err != nil {
		return t, reason.New(reason.TrustFile, path, err)
	}
	return t, nil
}

// readOwned reads a file that belongs to the owner and that nobody else may write.
func readOwned(path string, owner uint32, most int64) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not keep us waiting
	if err != nil {
		return nil, err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return nil, err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	switch {
	case !st.Mode().IsRegular():
		return nil, errors.New("it is no regular file")
	case !ok || sys.Uid != owner:
		return nil, fmt.Errorf("it does not belong to user %d", owner)
	case st.Mode().Perm()&0o022 != 0:
		return nil, fmt.Errorf("others than its owner may write it (mode %04o)", st.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("it has more than %d bytes", most)
	}
	return data, err
}

// accepted is what this machine has taken so far in a series of trusts. It never goes back.
type accepted struct {
	Format int             `json:"format"`
	Serial int64           `json:"serial"`          // of the newest manifest
	Trust  *manifest.Trust `json:"trust,omitempty"` // what the last rotation led to
}

func (m *Manifests) statePath() string { return filepath.Join(m.Dir, m.Trust.Name+".state.json") }
func (m *Manifests) keptPath() string  { return filepath.Join(m.Dir, m.Trust.Name+".manifest.json") }

// state reads what was taken so far; nothing was where there is no file.
func (m *Manifests) state() (accepted, error) {
	data, err := atomicfile.Read(m.statePath(), 2*manifest.MaxTrust)
	if errors.Is(err, fs.ErrNotExist) {
		return accepted{Format: 1}, nil
	}
	if err != nil {
		return accepted{}, fmt.Errorf("cannot read what was trusted before: %w", err)
	}
	a, err := parseAccepted(data)
	if err == nil && a.Trust != nil && a.Trust.Name != m.Trust.Name {
		err = fmt.Errorf("it is of %q", a.Trust.Name)
	}
	if err != nil {
		return a, reason.New(reason.TrustFile, m.statePath(), err).WithFix("look what has changed this file; without it, an older manifest may be taken once more")
	}
	return a, nil
}

func parseAccepted(data []byte) (accepted, error) {
	var a accepted
	strict, err := kjson.UnmarshalStrict(data, &a)
	if err = errors.Join(append(strict, err)...); err != nil {
		return accepted{}, err
	}
	if a.Format != 1 || a.Serial < 0 {
		return accepted{}, fmt.Errorf("format %d, serial %d", a.Format, a.Serial)
	}
	if a.Trust != nil {
		return a, a.Trust.Check()
	}
	return a, nil
}

// trust returns who is trusted by now: the given trust, or a later one of its series that rotations led to; of both floors
// the higher one.
func (m *Manifests) trust(a accepted) manifest.Trust {
	if a.Trust != nil && a.Trust.Serial > m.Trust.Serial {
		later := *a.Trust
		later.Floor = max(later.Floor, m.Trust.Floor) // of a program that is newer than the rotation
		return later
	}
	return m.Trust
}

func (m *Manifests) save(a accepted) error {
	data, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("cannot encode what is trusted: %w", err)
	}
	return m.write(m.statePath(), data)
}

func (m *Manifests) write(path string, data []byte) error {
	if err := os.MkdirAll(m.Dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the folder of the manifest: %w", err)
	}
	if err := atomicfile.Write(path, 0o600, data); err != nil {
		return noSpace(m.Dir, err)
	}
	return nil
}
