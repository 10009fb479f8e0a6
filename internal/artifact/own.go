package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// OwnDir makes a folder for downloads and what was trusted, and refuses one that somebody else may have filled: what lies in
// it under its final name is believed. Beside a file in /tmp, anybody may have been there first.
func OwnDir(dir string) error {
	err := os.MkdirAll(filepath.Dir(dir), 0o755)
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot make the folder for downloads: %w", err)
	}
	st, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("cannot look at the folder for downloads: %w", err)
	}
	what := ""
	switch sys, ok := st.Sys().(*syscall.Stat_t); {
	case !st.IsDir():
		what = "it is no folder"
	case !ok || int(sys.Uid) != os.Geteuid():
		what = "it belongs to another user"
	case st.Mode().Perm()&0o022 != 0:
		what = fmt.Sprintf("others may write it (mode %04o)", st.Mode().Perm())
	default:
		return nil
	}
	return reason.Newf(reason.Usage, "%s is where the downloads go, and %s", dir, what).WithFix("remove it, or name another place by --out")
}

// RemoveEmpty removes a folder, unless somebody else has put something into it. One that is not there is no error.
func RemoveEmpty(dir string) error {
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, syscall.EEXIST) {
		return fmt.Errorf("cannot remove the folder for downloads: %w", err)
	}
	return nil
}

// Forget removes what was kept, for a folder that is used once only: on a machine it would let an older manifest be taken.
func (m *Manifests) Forget() error {
	if _, err := os.Lstat(m.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var errs []error
	for _, path := range []string{m.keptPath(), m.statePath()} {
		errs = append(errs, atomicfile.Remove(path), atomicfile.Remove(atomicfile.Temp(path))) // of a run that was killed
	}
	return errors.Join(append(errs, RemoveEmpty(m.Dir))...)
}
