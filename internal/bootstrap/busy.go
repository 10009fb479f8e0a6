package bootstrap

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// DefaultWait is how long an install waits for package managers and cloud-init unless it is told otherwise: unattended
// upgrades of a fresh image take one to four minutes.
const DefaultWait = 5 * time.Minute

const (
	busyPoll   = 250 * time.Millisecond // the look costs some milliseconds
	stillEvery = 30 * time.Second       // between two words that it still waits
)

// Wait is the detail of an event of the kind "waiting".
type Wait struct {
	For      string `json:"for"` // who is waited for; "" once it is over
	WaitedMS int64  `json:"waited_ms"`
	LimitMS  int64  `json:"limit_ms"`
}

// patience waits until a condition of the machine ends.
type patience struct {
	limit time.Duration
	tell  func(wire.Event)
	// busy says who is in the way, "" for nobody.
	busy func(context.Context) (string, error)
	// over makes the error of the end of the patience.
	over func(who string) error
}

// wait returns whether it had to wait.
func (p patience) wait(ctx context.Context) (waited bool, err error) {
	began := time.Now()
	tick := time.NewTicker(busyPoll)
	defer tick.Stop()
	for last, told := "", began; ; {
		who, err := p.busy(ctx)
		took := time.Since(began)
		switch {
		case err != nil:
			return waited, err
		case who == "" && waited:
			p.tell(p.event("", took, fmt.Sprintf("Free after %s", took.Round(time.Second))))
			return true, nil
		case who == "":
			return false, nil
		case took >= p.limit:
			return waited, p.over(who + fmt.Sprintf("; waited %s for it", p.limit))
		case who != last:
			p.tell(p.event(who, took, fmt.Sprintf("Waiting: %s. At most %s more", who, (p.limit-took).Round(time.Second))))
			last, told = who, time.Now()
		case time.Since(told) >= stillEvery:
			p.tell(p.event(who, took, fmt.Sprintf("Still waiting, %s of %s: %s", took.Round(time.Second), p.limit, who)))
			told = time.Now()
		}
		waited = true
		select {
		case <-ctx.Done():
			return waited, fmt.Errorf("cannot wait for others who change this machine: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

func (p patience) event(who string, took time.Duration, message string) wire.Event {
	return event("waiting", message, Wait{For: who, WaitedMS: took.Milliseconds(), LimitMS: p.limit.Milliseconds()})
}

// open opens the journal and takes the lock of this machine. Another pipeops-agent is waited for only if that was asked for.
func (o Options) open(ctx context.Context) (store *plan.Store, took bool, err error) {
	var held error
	_, err = patience{
		limit: o.WaitLock, tell: o.Events,
		busy: func(ctx context.Context) (string, error) {
			var err error
			if store, took, err = o.takeOver(ctx); !reason.Is(err, reason.Busy) {
				return "", err
			}
			held = err
			return "another pipeops-agent changes this machine", nil
		},
		over: func(string) error { return held },
	}.wait(ctx)
	return store, took, err
}

// quiet waits until the first boot's setup is over, and until the package manager is free if the plan uses it. It returns
// whether it has waited: the machine may be another one then.
func (o Options) quiet(ctx context.Context, d distro.Decision) (bool, error) {
	needs := usesPackages(d.Remedies)
	return o.untilFree(ctx, func(p host.Packages) string { return inTheWay(p, needs, o.Wait > 0) })
}

// freePackages waits for the package manager alone, for a step that is about to use it.
func (o Options) freePackages(ctx context.Context) error {
	_, err := o.untilFree(ctx, func(p host.Packages) string { return inTheWay(p, true, false) })
	return err
}

func (o Options) untilFree(ctx context.Context, judge func(host.Packages) string) (bool, error) {
	return patience{
		limit: o.Wait, tell: o.Events,
		busy: func(ctx context.Context) (string, error) {
			p, err := host.ReadPackages(ctx, o.Host)
			if err != nil {
				o.Log.Warn("cannot see whether others change this machine", "err", err)
			}
			return judge(p), nil
		},
		over: func(who string) error {
			return reason.Newf(reason.HostPackagesBusy, "%s", who).
				WithFix("wait for it to end and run the command again, or give it more time with --wait 30m; --wait 0 does not wait for cloud-init at all")
		},
	}.wait(ctx)
}

// inTheWay says who is changing the machine, as far as it must be waited for; "" is nobody. Who was started by cloud-init
// does not wait for it.
func inTheWay(p host.Packages, packages, setup bool) string {
	holds := p.Holder() + " holds the lock of " + p.Manager
	switch {
	case setup && p.CloudInit == "running" && !p.UnderCloudInit.Value:
		if p.Busy.Value {
			return "cloud-init still sets this machine up, and " + holds
		}
		return "cloud-init still sets this machine up"
	case packages && p.Busy.Value:
		return holds
	}
	return ""
}

// usesPackages reports whether a remedy runs the package manager.
func usesPackages(remedies []distro.Remedy) bool {
	return slices.ContainsFunc(remedies, func(r distro.Remedy) bool { return r.ID == distro.RemedyPackage })
}
