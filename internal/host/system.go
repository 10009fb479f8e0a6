package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/shirou/gopsutil/v4/common"
)

// maxFile bounds what is read of one file. The largest that is read is /proc/net/tcp, with 150 bytes for each socket.
const maxFile = 16 << 20

// maxLine bounds what is read of a file of which only the first line is wanted: a page, as the kernel's own files have.
const maxLine = 4096

// System is the machine that the probes read: this one, or one that was captured into a folder.
type System struct {
	// Root is the folder of a captured machine. Empty means this machine.
	Root string
	// Network allows the probes of a live machine to ask others: its name servers, the metadata services of clouds, and
	// the servers that an install needs.
	// Without it no probe sends anything that leaves the machine.
	Network bool
	// DataDir is where the cluster shall keep its data, if not in [ClusterDir]: its file system is measured too.
	DataDir string
	// Gateway is the HOST:PORT of the gateway that Network allows to ask, too; "" is none.
	Gateway string

	snapshot *Snapshot // what is no file; nil when live
	record   *recorder // nil when nothing is captured
}

// Live returns the machine that this process runs on.
func Live() *System { return &System{} }

// Load returns the machine that was captured into a folder. A folder without host.json is a machine of which only the
// files are known.
func Load(dir string) (*System, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open the captured machine: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("cannot open the captured machine: %s is not a folder", dir)
	}
	s := &System{Root: dir, snapshot: &Snapshot{}}
	b, err := s.ReadFile("/" + SnapshotFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, nil
	case err != nil:
		return nil, fmt.Errorf("cannot open the captured machine: %w", err)
	}
	if s.snapshot, err = ParseSnapshot(b); err != nil {
		return nil, err
	}
	return s, nil
}

// Live reports whether this is the machine that the process runs on, so that system calls tell of it.
func (s *System) Live() bool { return s.snapshot == nil }

// Snapshot returns what a captured machine holds beside its files; it is empty for a live one.
func (s *System) Snapshot() Snapshot {
	if s.snapshot == nil {
		return Snapshot{}
	}
	return *s.snapshot
}

// ReadFile returns the content of a file, at most 16 MiB of it. The path is absolute, as on the machine itself.
func (s *System) ReadFile(path string) ([]byte, error) { return s.ReadHead(path, maxFile) }

// ReadHead returns at most n bytes from the start of a file.
func (s *System) ReadHead(path string, n int) ([]byte, error) {
	f, err := s.open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // a fifo in a captured folder must not hang us
		return nil, fmt.Errorf("cannot read %s: not a regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, int64(n)))
	if err != nil {
		return nil, err
	}
	s.record.file(path, b)
	return b, nil
}

// line returns a file's first line, cleaned and without surrounding space, or "" if it cannot be read.
func (s *System) line(path string) string {
	b, err := s.ReadHead(path, maxLine)
	if err != nil {
		return ""
	}
	text, _, _ := strings.Cut(string(b), "\n")
	return clean(strings.Trim(text, " \t\r\x00"))
}

// Exists tells whether a path is there, links not followed. Unknown means that we may not look.
func (s *System) Exists(path string) Known[bool] {
	info, err := s.lstat(path)
	switch {
	case err == nil:
		s.record.exists(path, info.IsDir())
		return Is(true)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return Is(false)
	}
	return Known[bool]{}
}

// has is Exists without the doubt.
func (s *System) has(path string) bool { return s.Exists(path).Or(false) }

func (s *System) open(path string) (*os.File, error) {
	const flags = os.O_RDONLY | syscall.O_NONBLOCK
	if s.Root == "" {
		return os.OpenFile(path, flags, 0)
	}
	return within(s.Root, path, func(r *os.Root, name string) (*os.File, error) { return r.OpenFile(name, flags, 0) })
}

func (s *System) lstat(path string) (fs.FileInfo, error) {
	if s.Root == "" {
		return os.Lstat(path)
	}
	return within(s.Root, path, func(r *os.Root, name string) (fs.FileInfo, error) { return r.Lstat(name) })
}

func (s *System) stat(path string) (fs.FileInfo, error) {
	if s.Root == "" {
		return os.Stat(path)
	}
	return within(s.Root, path, func(r *os.Root, name string) (fs.FileInfo, error) { return r.Stat(name) })
}

// readLink returns what a link says; it may say anything.
func (s *System) readLink(path string) (string, error) {
	if s.Root == "" {
		return os.Readlink(path)
	}
	return within(s.Root, path, func(r *os.Root, name string) (string, error) { return r.Readlink(name) })
}

func (s *System) readDir(path string) ([]fs.DirEntry, error) {
	if s.Root == "" {
		return os.ReadDir(path)
	}
	return within(s.Root, path, func(r *os.Root, name string) ([]fs.DirEntry, error) { return fs.ReadDir(r.FS(), name) })
}

// within runs one operation below the folder of a captured machine, out of which no link leads.
func within[T any](dir, path string, do func(*os.Root, string) (T, error)) (T, error) {
	var zero T
	root, err := os.OpenRoot(dir)
	if err != nil {
		return zero, err
	}
	defer root.Close()
	name := strings.TrimPrefix(filepath.Clean(path), "/")
	if name == "" {
		name = "."
	}
	return do(root, name)
}

// gopsutil returns a context that makes gopsutil read below the same root, whatever the process's environment says.
func (s *System) gopsutil(ctx context.Context) context.Context {
	at := func(path string) string { return filepath.Join(cmp.Or(s.Root, "/"), path) }
	return context.WithValue(ctx, common.EnvKey, common.EnvMap{
		common.HostRootEnvKey: at("/"),
		common.HostProcEnvKey: at("/proc"),
		common.HostSysEnvKey:  at("/sys"),
		common.HostEtcEnvKey:  at("/etc"),
		common.HostVarEnvKey:  at("/var"),
		common.HostRunEnvKey:  at("/run"),
		common.HostDevEnvKey:  at("/dev"),
	})
}
