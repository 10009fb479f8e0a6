package host

import (
	"bytes"
	"strconv"
	"strings"
)

// lock is a file on which somebody holds a lock.
type lock struct {
	pid    int    // of the holder; at most 0 if the kernel does not say
	device string // "8:1"
	inode  uint64
}

// maxLocks bounds the locks that are looked at.
const maxLocks = 1 << 14

// ParseLocks reads /proc/locks, as proc_locks(5) describes it. Of a lock that somebody waits for there is a second line
// with "->", which is left out.
func ParseLocks(b []byte) []lock {
	var all []lock
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line[:min(len(line), maxText)])) // 1: POSIX ADVISORY WRITE 1234 08:01:131072 0 EOF
		if len(f) < 6 || f[1] == "->" || len(all) == maxLocks {
			continue
		}
		pid, err1 := strconv.Atoi(f[4])
		id := strings.Split(f[5], ":") // major and minor in hexadecimal, inode
		if len(id) != 3 {
			continue
		}
		major, err2 := strconv.ParseUint(id[0], 16, 32)
		minor, err3 := strconv.ParseUint(id[1], 16, 32)
		inode, err4 := strconv.ParseUint(id[2], 10, 64)
		if err1 != nil || err2 != nil || err3 != nil || err4 != nil {
			continue
		}
		all = append(all, lock{pid: pid, device: deviceNumber(major, minor), inode: inode})
	}
	return all
}

// deviceNumber writes a device as mountinfo does.
func deviceNumber(major, minor uint64) string {
	return strconv.FormatUint(major, 10) + ":" + strconv.FormatUint(minor, 10)
}

// isInstaller tells whether a process of this name may be a package manager at work.
func isInstaller(comm string) bool {
	for _, start := range []string{"dnf", "yum", "zypp", "packagekit", "python", "platform-python", "y2", "rpm"} {
		if strings.HasPrefix(strings.ToLower(comm), start) {
			return true
		}
	}
	return false
}
