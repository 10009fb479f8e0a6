package bootstrap

import (
	"errors"
	"syscall"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// named gives an error of the machine's disks its name where nobody nearer to it has: the state folder is written to before and
// between the steps, which name their own.
func named(err error) error {
	var known *reason.Error
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return reason.New(reason.HostDiskLow, "", err)
	case errors.Is(err, syscall.EROFS):
		return reason.New(reason.HostReadOnly, "", err)
	}
	return err
}
