package host

import (
	"bytes"
	"path"
	"strconv"
	"strings"
)

// maxAncestors bounds the chain of parents: no sane machine has a tenth of it.
const maxAncestors = 64

// underCloudInit tells whether cloud-init has started the process, or one of those that led to it: to wait for cloud-init
// would then be to wait for ourselves. Its units tell as well as its processes: what it starts may be given to pid 1 when
// whoever stood between has ended. read reads a file of the machine; pid is "self" or a number.
func underCloudInit(read func(string) ([]byte, error), pid string) bool {
	if groups, err := read("/proc/" + pid + "/cgroup"); err == nil && CloudInitCgroup(groups) {
		return true
	}
	for range maxAncestors {
		stat, err := read("/proc/" + pid + "/stat")
		if err != nil {
			return false
		}
		parent := ParseParentID(stat)
		if parent <= 1 {
			return false
		}
		pid = strconv.Itoa(parent)
		if argv, err := read("/proc/" + pid + "/cmdline"); err == nil && isCloudInit(argv) {
			return true
		}
	}
	return false
}

// ParseParentID reads the parent's id out of /proc/PID/stat; 0 is unknown. The name before it may hold anything, parentheses too.
func ParseParentID(stat []byte) int {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return 0
	}
	fields := strings.Fields(string(stat[i+1 : min(len(stat), i+1+maxText)])) // S 1234 ...
	if len(fields) < 2 {
		return 0
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil || parent < 0 {
		return 0
	}
	return parent
}

// CloudInitCgroup tells from /proc/PID/cgroup whether the process runs in a unit of cloud-init: cloud-init.service,
// cloud-init-local, cloud-init-main, cloud-config or cloud-final.
func CloudInitCgroup(b []byte) bool {
	for line := range bytes.Lines(b) {
		_, group, _ := strings.Cut(string(line[:min(len(line), maxText)]), ":/") // 0::/system.slice/cloud-final.service
		for part := range strings.SplitSeq(strings.TrimSpace(group), "/") {
			unit, isUnit := strings.CutSuffix(part, ".service")
			if isUnit && (strings.HasPrefix(unit, "cloud-init") || unit == "cloud-config" || unit == "cloud-final") {
				return true
			}
		}
	}
	return false
}

// isCloudInit tells whether a command line, with zero bytes between its words, is cloud-init's: python3 /usr/bin/cloud-init modules --mode=final.
func isCloudInit(cmdline []byte) bool {
	words := strings.SplitN(string(cmdline[:min(len(cmdline), maxText)]), "\x00", 4)
	for _, word := range words[:min(len(words), 3)] { // the program, or the script behind python and its one option
		if path.Base(word) == "cloud-init" {
			return true
		}
	}
	return false
}
