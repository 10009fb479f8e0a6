package plan

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxMounts bounds what is read of the mount table, in bytes: a node with some hundred pods has 1 MiB.
const maxMounts = 64 << 20

// mount is a line of the mount table.
type mount struct{ point, fs string }

// mounts returns the mount table of this thread; none where the system has no such file.
func mounts() ([]mount, error) {
	f, err := os.Open("/proc/thread-self/mountinfo")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseMounts(io.LimitReader(f, maxMounts))
}

// parseMounts reads mountinfo (proc_pid_mountinfo(5)). A line that it does not understand is an error: what is not seen as
// a mount could be deleted.
func parseMounts(r io.Reader) ([]mount, error) {
	var all []mount
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		head, tail, found := strings.Cut(lines.Text(), " - ")
		fields, types := strings.Fields(head), strings.Fields(tail)
		if !found || len(fields) < 6 || len(types) < 1 {
			return nil, fmt.Errorf("cannot understand the mount table: %q", lines.Text())
		}
		all = append(all, mount{point: unescape(fields[4]), fs: types[0]})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	return all, nil
}

// unescape undoes the octal escapes of blanks, tabs, newlines and backslashes.
func unescape(s string) string {
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

// on returns the mount that holds a path. The path must be free of links.
func on(all []mount, path string) (mount, bool) {
	best, found := mount{}, false
	for _, m := range all {
		if within(path, m.point) && len(m.point) >= len(best.point) { // of two on one point, the later one counts
			best, found = m, true
		}
	}
	return best, found
}

// within reports whether path is dir or below it.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// overNetwork reports whether a type of file system keeps its files on another machine, so that to delete them here deletes
// what others see (k3s issue 3264). FUSE is such a type unless it is known not to be: most of what is mounted by it is remote.
func overNetwork(fs string) bool {
	switch fs {
	case "nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "9p", "virtiofs", "afs", "lustre", "ocfs2", "gfs2", "gpfs", "beegfs", "glusterfs", "orangefs", "coda":
		return true
	case "fuse.fuse-overlayfs", "fuseblk", "fuse.lxcfs":
		return false
	}
	return fs == "fuse" || strings.HasPrefix(fs, "fuse.")
}
