package trial

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// sysctlWrite opens for writing, and writes nothing into, the settings that the kubelet and kube-proxy set.
func sysctlWrite() Trial {
	return Trial{Name: SysctlWrite, Title: "change kernel settings", Run: func(context.Context, Env) error {
		for _, path := range []string{"/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/panic", "/proc/sys/net/ipv4/ip_forward"} {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%w: %w", errNotTried, err)
			}
			if err != nil {
				return fmt.Errorf("cannot %w", err)
			}
			f.Close()
		}
		return nil
	}}
}
