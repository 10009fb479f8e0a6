package trial

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// kmsg opens the kernel's log, in which the kubelet watches for processes killed for memory.
func kmsg() Trial {
	return Trial{Name: Kmsg, Title: "read the kernel's log", Run: func(context.Context, Env) (Result, error) {
		f, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return Result{}, fmt.Errorf("cannot %w", err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return Result{}, fmt.Errorf("%w: %w", errNotTried, err)
		}
		if info.Mode()&fs.ModeCharDevice == 0 {
			return Result{}, fmt.Errorf("cannot use /dev/kmsg: it is no device but %s", info.Mode().Type())
		}
		return Result{}, nil
	}}
}
