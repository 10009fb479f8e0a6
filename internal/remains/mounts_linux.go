package remains

import (
	"errors"

	"golang.org/x/sys/unix"
)

// unmount takes away what is mounted at a point. Where it is still in use, or its server does not answer, it goes lazily: out
// of sight at once, away with its last user. It never waits for a server (k3s issues 8520 and 8200).
func unmount(point string) error {
	err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // another has been quicker
		return nil
	}
	return err
}
