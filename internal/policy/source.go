package policy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// File is where the owner of a machine keeps his policy.
const File = "/etc/pipeops-agent/policy.yaml"

// Source judges by the file as it is: a change counts from the next request on, and no restart is needed. Where it cannot be read, or is
// somebody else's than root's to write, nothing is let through.
type Source struct {
	Path string

	mu     sync.Mutex
	read   stamp // of which policy and broken are
	policy *Policy
	broken error
}

// stamp tells apart one state of the file from another.
type stamp struct {
	there       bool
	size, mtime int64
	inode       uint64
	mode        fs.FileMode
	owner       uint32
}

// Judge returns nil for what the owner allows, else a [reason.PolicyForbids] or [reason.PolicyInvalid].
func (s *Source) Judge(r Request) error {
	p, err := s.Policy()
	if err != nil {
		return err
	}
	if p == nil {
		return nil
	}
	if err := p.Judge(r); err != nil {
		return reason.Newf(reason.PolicyForbids, "%s: %s says: %v", r, s.Path, err)
	}
	return nil
}

// Policy returns what the file says; nil if there is none. The error is a [reason.PolicyInvalid].
func (s *Source) Policy() (*Policy, error) {
	now, err := look(s.Path)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		return nil, reason.New(reason.PolicyInvalid, s.Path, err)
	}
	if now != s.read {
		s.read = now
		s.policy, s.broken = load(s.Path, now)
	}
	return s.policy, s.broken
}

func look(path string) (stamp, error) {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return stamp{}, nil
	}
	if err != nil {
		return stamp{}, err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return stamp{}, errors.New("its owner cannot be seen")
	}
	return stamp{true, st.Size(), st.ModTime().UnixNano(), sys.Ino, st.Mode(), sys.Uid}, nil
}

func load(path string, st stamp) (*Policy, error) {
	invalid := func(err error) error { return reason.New(reason.PolicyInvalid, path, err) }
	switch {
	case !st.there:
		return nil, nil
	case !st.mode.IsRegular():
		return nil, invalid(errors.New("it is no regular file"))
	case st.owner != 0 && int(st.owner) != os.Geteuid():
		return nil, invalid(fmt.Errorf("it belongs to user %d, and must be root's", st.owner))
	case st.mode.Perm()&0o022 != 0:
		return nil, invalid(fmt.Errorf("others may write it (mode %04o)", st.mode.Perm()))
	}
	raw, err := atomicfile.Read(path, maxFile)
	if err != nil {
		return nil, invalid(err)
	}
	p, err := Read(raw)
	if err != nil {
		return nil, invalid(err)
	}
	return p, nil
}
