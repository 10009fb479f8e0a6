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
