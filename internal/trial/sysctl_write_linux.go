package trial

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// forwarding must be on for pods; each network namespace has its own.
const forwarding = "/proc/sys/net/ipv4/ip_forward"

// sysctlWrite opens for writing the settings that the kubelet and kube-proxy set, writes into one of them the value that it
// has, and changes forwarding in a network namespace of its own. LXD from 4.10 on has /proc/sys/net read-only alone.
func sysctlWrite() Trial {
	return Trial{Name: SysctlWrite, Title: "change kernel settings", Run: func(context.Context, Env) (Result, error) {
		for _, path := range []string{"/proc/sys/vm/overcommit_memory", forwarding} {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if errors.Is(err, fs.ErrNotExist) {
				return Result{}, fmt.Errorf("%w: %w", errNotTried, err)
			}
			if err != nil {
				return Result{}, fmt.Errorf("cannot %w", err)
			}
			f.Close()
		}
		if err := rewrite("/proc/sys/kernel/panic"); err != nil {
			return Result{}, err
		}
		var namespaced bool
		err := inNetworkNamespace(func() error {
			namespaced = true
			return forward()
		})
		if !namespaced { // what was opened above has to do
			return Result{Detail: "not in a network namespace: " + err.Error()}, nil
		}
		return Result{}, err
	}}
}

// rewrite writes into a setting the value that it has.
func rewrite(path string) error {
	before, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotTried, err)
	}
	if err := os.WriteFile(path, before, 0); err != nil {
		return fmt.Errorf("cannot %w", err)
	}
	after, err := os.ReadFile(path)
	if err != nil || string(after) != string(before) {
		return fmt.Errorf("%w: %s was %q and is %q", errNotUndone, path, before, after)
	}
	return nil
}

// forward turns forwarding on in the network namespace of this thread.
func forward() error {
	if err := os.WriteFile(forwarding, []byte("1"), 0); err != nil {
		return fmt.Errorf("cannot %w", err)
	}
	b, err := os.ReadFile(forwarding)
	if err != nil || len(b) == 0 || b[0] != '1' {
		return fmt.Errorf("cannot change %s: it stays at %q", forwarding, b)
	}
	return nil
}
