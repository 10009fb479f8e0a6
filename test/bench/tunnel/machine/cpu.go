package machine

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// CPU is the processor time that a process has used, in the kernel, too. It comes in steps of 10 ms.
func CPU(pid int) (time.Duration, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, fmt.Errorf("cannot read the processor time of %d: %w", pid, err)
	}
	return parseStat(stat)
}

const tick = 10 * time.Millisecond // USER_HZ is 100 on every architecture of ours, proc(5)

// parseStat takes utime and stime from /proc/PID/stat. The second field is a name in brackets, which may hold anything.
func parseStat(stat []byte) (time.Duration, error) {
	_, rest, found := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 13 {
		return 0, fmt.Errorf("cannot parse %q", stat)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
}

// Memory is what a process has in memory that no file backs, in bytes; of what the runtime has given back, that which the kernel has not
// taken yet counts as well.
func Memory(pid int) (int64, error) { return status(pid, "RssAnon") }

// Peak is the most that a process ever had in memory, in bytes, files included.
func Peak(pid int) (int64, error) { return status(pid, "VmHWM") }

func status(pid int, name string) (int64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, fmt.Errorf("cannot read the memory of %d: %w", pid, err)
	}
	return parseStatus(string(text), name)
}

// parseStatus takes a number of kilobytes from /proc/PID/status, proc(5).
func parseStatus(text, name string) (int64, error) {
	for line := range strings.Lines(text) {
		value, found := strings.CutPrefix(line, name+":")
		if !found {
			continue
		}
		kilobytes, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("cannot parse %q: %w", line, err)
		}
		return kilobytes << 10, nil
	}
	return 0, fmt.Errorf("there is no %s", name)
}
