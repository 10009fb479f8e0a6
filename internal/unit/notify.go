package unit

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notifier tells systemd about the service that this process is. Outside of a unit with Type=notify it does nothing.
type Notifier struct{}

// Ready says that the service has started; status is one line for people.
func (Notifier) Ready(status string) error {
	return notify(daemon.SdNotifyReady + "\nSTATUS=" + status)
}

// Status says in one line what the service does.
func (Notifier) Status(status string) error { return notify("STATUS=" + status) }

// Stopping says that the service is about to end.
func (Notifier) Stopping() error { return notify(daemon.SdNotifyStopping) }

func notify(state string) error {
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("cannot notify systemd: %w", err)
	}
	return nil
}

// Watchdog tells systemd, three times per WatchdogSec, that the service is alive, as long as alive says so; systemd
// restarts it otherwise. It returns when ctx ends, at once where the unit has no watchdog.
func (Notifier) Watchdog(ctx context.Context, alive func() bool) error {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("cannot read the watchdog's interval: %w", err)
	}
	if interval == 0 {
		return nil
	}
	tick := time.NewTicker(interval / 3)
	defer tick.Stop()
	for {
		if alive() {
			if err := notify(daemon.SdNotifyWatchdog); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
