package bootstrap

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/command"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/supervise"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

// Boot tells one boot of the machine from the next; "" where that cannot be known. Containers share the id of their host's
// boot, so the start of process 1 is part of it.
func Boot(root string) string {
	id, err := os.ReadFile(filepath.Join(root, "/proc/sys/kernel/random/boot_id"))
	if err != nil {
		return ""
	}
	boot := strings.TrimSpace(string(id))
	stat, err := os.ReadFile(filepath.Join(root, "/proc/1/stat"))
	if err != nil {
		return boot
	}
	// field 22, starttime; the name before may hold blanks and parentheses
	const startTime = 22 - 3
	if fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])); len(fields) > startTime {
		boot += "/" + fields[startTime]
	}
	return boot
}

// stopping reports whether the machine is going down. Then a signal does not come from somebody who wants to stop us.
func stopping(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := os.Stat("/run/openrc/rc.stopping"); err == nil {
		return true
	}
	if o, err := (&supervise.Client{}).Overview(ctx); err == nil {
		return o.Stopping
	}
	manager, err := unit.Connect(ctx)
	if err != nil {
		return false
	}
	defer manager.Close()
	going, err := manager.Stopping(ctx)
	return err == nil && going
}

// Reboot starts a reboot in good order, and does not wait for it.
func Reboot(ctx context.Context) error {
	argv := []string{"reboot"}
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		argv = []string{"systemctl", "--no-block", "reboot"}
	}
	if _, err := command.Run(ctx, time.Minute, argv...); err != nil {
		return reason.New(reason.RebootNeeded, "it cannot be done from here", err).WithFix("reboot it by hand: the install goes on by itself when the machine is up again")
	}
	return nil
}
