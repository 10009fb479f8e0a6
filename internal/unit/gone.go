package unit

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// gone waits until the processes have ended.
func gone(ctx context.Context, pids []int) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for _, pid := range pids {
		for running(pid) {
			select {
			case <-ctx.Done():
				return fmt.Errorf("process %d does not end: %w", pid, ctx.Err())
			case <-tick.C:
			}
		}
	}
	return nil
}

// running reports whether the process has not ended yet.
func running(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	_, alive := parent(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return alive
}
