package bootstrap

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
)

// maxWish bounds the file in bytes: it holds the agent's configuration twice.
const maxWish = 4 << 20

// wish is what is remembered of the settings from one install to the next, in the state folder: the agent's configuration
// comes late in the plan, and an install that was stopped before it must go on as it was wanted. It is not the note of
// [Unfinished], which has more (what goes on by itself has nobody to ask), and goes as soon as a user stops the install or it fails.
type wish struct {
	Wanted  string `json:"wanted,omitempty"`  // the configuration that an install which has not ended yet will write
	Base    string `json:"base,omitempty"`    // with Wanted: SHA-256 of the configuration that it found, "" if there was none
	Applied string `json:"applied,omitempty"` // the configuration of the last install that ended well
}

// settingsFile is where a wish lies in the state folder.
const settingsFile = "settings.json"

func wishFile(stateDir string) string { return filepath.Join(stateDir, settingsFile) }

// Remembered returns the configuration that an unfinished install was to write, unless somebody has changed the file since,
// and the one of the last install that ended well; nil where there is none.
func Remembered(stateDir, configPath string) (wanted, applied []byte, err error) {
	w, err := readWish(stateDir)
	if err != nil {
		return nil, nil, err
	}
	if w.Applied != "" {
		applied = []byte(w.Applied)
	}
	if w.Wanted == "" {
		return nil, applied, nil
	}
	base, err := digestOf(configPath)
	if err == nil && base == w.Base {
		wanted = []byte(w.Wanted)
	}
	return wanted, applied, err
}

func readWish(stateDir string) (wish, error) {
	var w wish
	content, err := atomicfile.Read(wishFile(stateDir), maxWish)
	if errors.Is(err, fs.ErrNotExist) {
		return w, nil
	}
	if err == nil {
		err = json.Unmarshal(content, &w)
	}
	if err != nil {
		return w, fmt.Errorf("cannot read the settings of the last install: %w", err)
	}
	return w, nil
}

// digestOf is the SHA-256 of a file, "" if there is none.
func digestOf(path string) (string, error) {
	content, err := atomicfile.Read(path, maxWish)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]), err
}

// want remembers what this install will write, before it changes anything. The caller holds the lock of the state folder.
func (o Options) want(config []byte) error {
	w, err := readWish(o.StateDir)
	if err != nil {
		return err
	}
	if w.Base, err = digestOf(o.ConfigPath); err != nil {
		return fmt.Errorf("cannot read the configuration: %w", err)
	}
	if held, err := atomicfile.Read(o.ConfigPath, maxWish); err == nil && string(held) == string(config) {
		w.Base = "" // nothing to remember: it is written already
		config = nil
	}
	w.Wanted = string(config)
	return w.write(o.StateDir)
}

// settle remembers what an install has brought about.
func (o Options) settle(config []byte) error { return wish{Applied: string(config)}.write(o.StateDir) }

func (w wish) write(stateDir string) error {
	before, err := readWish(stateDir)
	if err == nil && before == w {
		return nil
	}
	content, err := json.Marshal(w)
	if err == nil {
		err = atomicfile.Write(wishFile(stateDir), 0o600, append(content, '\n'))
	}
	if err != nil {
		return fmt.Errorf("cannot remember the settings: %w", err)
	}
	return nil
}
