package remains

import (
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestBusyGroupIsWaitedFor: a group whose threads are still ending goes a moment later; one that stays busy is told.
func TestBusyGroupIsWaitedFor(t *testing.T) {
	for _, tt := range []struct {
		name string
		busy int // attempts
		err  error
		left int
		took time.Duration
	}{
		{"free", 0, nil, 0, 0},
		{"busy for a moment", 3, syscall.EBUSY, 0, 3 * busyPoll},
		{"busy for ever", 1 << 20, syscall.EBUSY, 1, busyTimeout + busyPoll},
		{"not allowed", 1 << 20, syscall.EPERM, 1, 0},
	} {
		root := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			tries, began := 0, time.Now()
			left, err := Env{Root: root}.vacate(t.Context(), []string{"/sys/fs/cgroup/pids/kubepods"}, func(string) error {
				if tries++; tries <= tt.busy {
					return tt.err
				}
				return nil
			})
			if took := time.Since(began); err != nil || len(left) != tt.left || took != tt.took {
				t.Errorf("%s: %q, %v after %v, want %d after %v", tt.name, left, err, took, tt.left, tt.took)
			}
		})
	}
}
