// Package mounttable reads the kernel's table of mounts.
package mounttable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Path is the table of the thread that reads it.
const Path = "/proc/thread-self/mountinfo"

// MaxSize bounds what is read of the table, in bytes: a node with some hundred pods has 1 MiB.
const MaxSize = 64 << 20

// Mount is one line of the table; a later one lies on top of an earlier one at the same point.
type Mount struct {
	Device   string // "8:1"
	Root     string // of the mounted tree in its file system: not "/" for a bind mount
	Point    string
	Type     string
	Source   string
	ReadOnly bool     // of the mount or of its file system
	NoExec   bool     // no program is started from it
	Shared   bool     // what is mounted below it shows in other namespaces
	Super    []string // options of the file system
}

// Read returns the table of this thread; none where the system has no such file. A line that is not understood is an error:
// what is not seen as a mount could be deleted.
func Read() ([]Mount, error) {
	f, err := os.Open(Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	defer f.Close()
	table, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err == nil && len(table) > MaxSize {
		err = fmt.Errorf("it has more than %d bytes", MaxSize)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	all, unknown := Parse(table)
	if unknown > 0 {
		return nil, fmt.Errorf("cannot understand %d lines of the mount table", unknown)
	}
	return all, nil
}

// Parse reads the format of proc_pid_mountinfo(5), and counts the lines that do not have it, which it leaves out.
func Parse(table []byte) (all []Mount, unknown int) {
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		sep := slices.Index(fields, "-")
		if sep < 6 || len(fields) < sep+3 {
			unknown++
			continue
		}
		m := Mount{Device: fields[2], Root: unescape(fields[3]), Point: unescape(fields[4]), Type: fields[sep+1], Source: unescape(fields[sep+2])}
		if len(fields) > sep+3 {
			m.Super = strings.Split(fields[sep+3], ",")
		}
		m.Shared = slices.ContainsFunc(fields[6:sep], func(f string) bool { return strings.HasPrefix(f, "shared:") })
		m.NoExec = slices.Contains(strings.Split(fields[5], ","), "noexec")
		m.ReadOnly = slices.Contains(strings.Split(fields[5], ","), "ro") || slices.Contains(m.Super, "ro")
		all = append(all, m)
	}
	return all, unknown
}

// On returns the mount that a path lies on. The path must be absolute and free of links.
func On(all []Mount, path string) (Mount, bool) {
	best, found := Mount{}, false
	for _, m := range all {
		if Within(path, m.Point) && len(m.Point) >= len(best.Point) {
			best, found = m, true
		}
	}
	return best, found
}

// Within reports whether path is dir or below it.
func Within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// OverNetwork reports whether a type of file system keeps its files on another machine, so that to delete them here deletes
// what others see (k3s issue 3264). FUSE is such a type unless it is known not to be: most of what is mounted by it is remote.
func OverNetwork(fs string) bool {
	switch fs {
	case "nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "9p", "virtiofs", "afs", "lustre", "ocfs2", "gfs2", "gpfs", "beegfs", "glusterfs", "orangefs", "coda":
		return true
	case "fuse.fuse-overlayfs", "fuseblk", "fuse.lxcfs":
		return false
	}
	return fs == "fuse" || strings.HasPrefix(fs, "fuse.")
}

// unescape undoes the octal escapes of space, tab, newline and backslash.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}
