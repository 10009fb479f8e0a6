package bootstrap

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
)

const (
	// UnfinishedFile is where an Unfinished lies in the state folder. The unit that resumes is started only if it is there.
	UnfinishedFile = "resume.json"

	unfinishedFormat  = "pipeops-resume"
	unfinishedVersion = 1
	// maxUnfinished bounds the file, in bytes: a real one has some 500.
	maxUnfinished = 256 << 10
)

// Unfinished is what an operation that changes the machine leaves while it runs, so that it can be gone on with by those who
// did not begin it. It is root's alone and holds no join token: that is used up before. Its settings are those of one run, and go
// with it; what the next one that a user runs starts from is the wish in settings.json.
type Unfinished struct {
	Format   string          `json:"format"`
	Version  int             `json:"version"`
	Command  string          `json:"command"`  // "install"
	Settings json.RawMessage `json:"settings"` // as the command has understood them; its own to read
	Began    time.Time       `json:"began"`
	Boot     string          `json:"boot"`     // in which it last ran
	Journal  int             `json:"journal"`  // length of the journal when it began, or was last to be tried again
	Reached  int             `json:"reached"`  // [plan.Store.Reached] when it was last tried
	Attempts int             `json:"attempts"` // to go on by itself, since it last got further

	Waits    plan.State `json:"waits,omitempty"`     // WaitingReboot or WaitingUser; "" is neither
	WaitBoot string     `json:"wait_boot,omitempty"` // the boot in which it waits
	Why      string     `json:"why,omitempty"`       // what it waits for
}

// ReadUnfinished returns what is unfinished by the state folder, nil if nothing is.
func ReadUnfinished(dir string) (*Unfinished, error) {
	path := filepath.Join(dir, UnfinishedFile)
	data, err := atomicfile.Read(path, maxUnfinished)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read what is unfinished: %w", err)
	}
	u, err := parseUnfinished(data)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return &u, nil
}

func parseUnfinished(data []byte) (Unfinished, error) {
	var u Unfinished
	if len(data) > maxUnfinished {
		return u, fmt.Errorf("it is larger than %d bytes", maxUnfinished)
	}
	var head struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return u, err
	}
	if head.Format != unfinishedFormat || head.Version != unfinishedVersion {
		return u, fmt.Errorf("it is %q in version %d; this program knows %s in version %d", head.Format, head.Version, unfinishedFormat, unfinishedVersion)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&u); err != nil {
		return u, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return u, errors.New("there is more behind its end")
	}
	if u.Command == "" || len(u.Settings) == 0 || u.Journal < 0 || u.Reached < 0 || u.Attempts < 0 {
		return u, errors.New("it is not complete")
	}
	switch u.Waits {
	case "", plan.WaitingReboot, plan.WaitingUser:
		return u, nil
	}
	return u, fmt.Errorf("it waits for %q, which this program does not know", u.Waits)
}

func (u Unfinished) encode() ([]byte, error) {
	u.Format, u.Version = unfinishedFormat, unfinishedVersion
	data, err := json.Marshal(u)
	return append(data, '\n'), err
}

func (u Unfinished) write(dir string) error {
	data, err := u.encode()
	if err == nil {
		err = atomicfile.Write(filepath.Join(dir, UnfinishedFile), 0o600, data)
	}
	if err != nil {
		return fmt.Errorf("cannot write down what is to be done: %w", err)
	}
	return nil
}
