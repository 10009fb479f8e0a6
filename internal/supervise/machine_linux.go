package supervise

import (
	"fmt"
	"log/slog"

	"golang.org/x/sys/unix"
)

// takeOrphans makes what services leave ours to wait for, where no container's first process does so anyway.
func takeOrphans(log *slog.Logger) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		log.Warn("orphans are left to the first process", "err", err)
	}
}

// shareRoot makes "/" and all mounts below it shared, for volumes with mount propagation. systemd does so at boot.
func shareRoot() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("cannot share the root: %w", err)
	}
	return nil
}
