package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Guard sees to it that an operation which changes the machine is gone on with, whatever becomes of its process. Begin
// leaves the note, End removes it or leaves what is waited for in it. It is for one run of one operation, below the lock.
type Guard struct {
	Store    *plan.Store
	Dir      string // the state folder
	Command  string // "install"
	Settings func() (json.RawMessage, error)
	Start    func(context.Context) error // starts the unit that resumes, if it is there; nil: nobody does

	Root     string                     // of /proc and /run; "" is this machine
	Stopping func(context.Context) bool // whether the machine goes down; nil asks its init
	Now      func() time.Time           // nil: time.Now
	Log      *slog.Logger               // nil: none

	alone bool        // it was started by the unit that resumes
	took  bool        // that one was at it, and has yielded
	found *Unfinished // what was there before
	note  *Unfinished // what is there now
	again error       // of the attempt before this one, in the same process
}

// newGuard returns the guard of a run, which knows what is unfinished so far. A note that cannot be read is none: what is
// begun now replaces it.
func newGuard(store *plan.Store, dir, command string) *Guard {
	g := &Guard{Store: store, Dir: dir, Command: command}
	if u, err := ReadUnfinished(dir); err == nil && u != nil && u.Command == command {
		g.found = u
	}
	return g
}

// Resumes reports whether the run goes on with one that was interrupted.
func (g *Guard) Resumes() bool { return g.found != nil }

// Begin leaves the note. What comes after it is gone on with.
func (g *Guard) Begin(ctx context.Context) error {
	if g.note != nil || g.Settings == nil {
		return nil
	}
	settings, err := g.Settings()
	if err != nil {
		return fmt.Errorf("cannot write down what is to be done: %w", err)
	}
	u := Unfinished{
		Command: g.Command, Settings: settings, Began: g.now(), Boot: Boot(g.Root),
		Journal: len(g.Store.Journal.Entries()), Reached: g.Store.Reached(),
	}
	if g.found != nil {
		u.Began = g.found.Began
		if g.alone { // what was tried counts
			u.Reached, u.Attempts = g.found.Reached, g.found.Attempts
		}
	}
	if err := u.write(g.Dir); err != nil {
		return err
	}
	g.note = &u
	g.watch(ctx)
	return nil
}

// watch starts the unit that waits for the end of this process. That it is not there yet is no error: a step writes it.
func (g *Guard) watch(ctx context.Context) {
	if g.Start == nil || g.alone {
		return
	}
	if err := g.Start(ctx); err != nil {
		g.log().Warn("nobody waits for the end of this process", "err", err)
	}
}

// End takes the end of the run and returns it as it is to be told.
func (g *Guard) End(ctx context.Context, err error) error {
	wait := (*plan.WaitingError)(nil)
	switch {
	case g.note == nil && g.found == nil && !errors.As(err, &wait):
		return err
	case err == nil:
		return g.remove()
	case ctx.Err() != nil:
		stopping := stopping
		if g.Stopping != nil {
			stopping = g.Stopping
		}
		if g.alone || stopping(context.WithoutCancel(ctx)) {
			return err
		}
		return errors.Join(err, g.remove()) // a user says stop
	case errors.As(err, &wait):
		return g.wait(ctx, wait.For, err)
	case reason.Is(err, reason.ConsentNeeded):
		return errors.Join(g.wait(ctx, plan.WaitingUser, err), g.Store.Rest(g.now(), g.Command, plan.WaitingUser, err))
	case g.note == nil && !g.alone: // refused before it began: what was unfinished is so still
		g.watch(ctx)
		return err
	case g.alone && Transient(err):
		return errors.Join(err, g.tryAgain())
	}
	return errors.Join(err, g.giveUp(err))
}

// tryAgain sees to it that a step which was undone is not taken for the end of the operation.
func (g *Guard) tryAgain() error {
	if g.note == nil {
		return nil
	}
	g.note.Journal = len(g.Store.Journal.Entries())
	return g.note.write(g.Dir)
}

// giveUp brings the operation to rest.
func (g *Guard) giveUp(cause error) error {
	if name, _, open := g.Store.Journal.Open(); open && name == g.Command {
		if err := g.Store.Rest(g.now(), g.Command, plan.Stuck, cause); err != nil {
			g.log().Warn("the journal is behind", "err", err)
		}
	}
	return g.remove()
}

// withdraw takes back the unit that resumes where a run has failed for good and nothing else is ours: the machine is then as it
// was before.
func (g *Guard) withdraw(ctx context.Context, r *plan.Runner, err error) error {
	wait := (*plan.WaitingError)(nil)
	if ctx.Err() != nil || errors.As(err, &wait) || g.alone && Transient(err) {
		return nil
	}
	own := []string{distro.ResumeStep, distro.SupervisorStep}
	for _, c := range g.Store.Ledger.Changes() {
		if !slices.Contains(own, c.Step) {
			return nil
		}
	}
	var errs []error
	for _, step := range own {
		errs = append(errs, r.Withdraw(ctx, step))
	}
	return errors.Join(errs...)
}

// wait leaves the note, with what is waited for.
func (g *Guard) wait(ctx context.Context, what plan.State, err error) error {
	if beginErr := g.Begin(ctx); beginErr != nil {
		return errors.Join(err, beginErr)
	}
	u := g.note
	if u == nil {
		return err
	}
	boot, why := Boot(g.Root), evidence(err)
	repeated := g.found != nil && g.found.Waits == plan.WaitingReboot && g.found.WaitBoot != boot && g.found.Why == why && what == g.found.Waits
	if repeated { // without a [plan.WaitingError] around it nobody reboots by himself
		err = reason.Newf(reason.RebootNeeded, "the machine has been rebooted, and still %s", why).
			WithFix("find out why the reboot did not bring it (does the boot loader read that file?); the next reboot, or install, asks again")
	}
	u.Waits, u.WaitBoot, u.Why, u.Attempts = what, boot, why, 0
	if writeErr := u.write(g.Dir); writeErr != nil {
		return errors.Join(err, writeErr)
	}
	text := "waits for a reboot: " + u.Why + ". It goes on by itself after it."
	if what == plan.WaitingUser {
		text = "waits for your consent: " + u.Why + ". Give it with: pipeops-agent " + g.Command + " --consent ..."
	} else if repeated {
		text = "waits for a reboot: " + u.Why + "."
	}
	g.tellLogins("pipeops-agent: the " + g.Command + " of this machine " + text + "\n")
	return err
}

// evidence is what an error of the catalogue has seen, or all of it.
func evidence(err error) string {
	if e := (*reason.Error)(nil); errors.As(err, &e) && e.Evidence != "" {
		return e.Evidence
	}
	return err.Error()
}

// motd is shown by pam_motd to those who log in. It goes with the boot, and needs no undo.
const motd = "/run/motd.d/pipeops-agent"

func (g *Guard) tellLogins(text string) {
	path := filepath.Join(g.Root, motd)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = atomicfile.Write(path, 0o644, []byte(text))
	}
	if err != nil {
		g.log().Warn("those who log in are not told", "err", err)
	}
}

// remove ends it.
func (g *Guard) remove() error {
	g.found, g.note = nil, nil
	return errors.Join(removeNote(g.Dir), atomicfile.Remove(filepath.Join(g.Root, motd)))
}

func removeNote(dir string) error {
	if err := atomicfile.Remove(filepath.Join(dir, UnfinishedFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove what was unfinished: %w", err)
	}
	return nil
}

// Transient reports whether an error may be gone the next time, without anybody's doing.
func Transient(err error) bool {
	return slices.ContainsFunc([]reason.Code{
		reason.DownloadFailed, reason.DownloadTruncated, reason.GatewayUnreachable, reason.GatewayName, reason.HostPackagesBusy,
		reason.HostUnseen, reason.NetNoRoute, reason.HostClock, reason.ManifestClock,
	}, func(c reason.Code) bool { return reason.Is(err, c) })
}

// resumed makes the event that tells what is gone on with, since when, and why it was interrupted.
func (g *Guard) resumed() wire.Event {
	u := *g.found
	detail := Interruption{Command: u.Command, Began: u.Began, Cause: Killed, Attempt: u.Attempts}
	for _, e := range g.Store.Journal.Entries() {
		if e.Step != "" && e.Plan == u.Command {
			detail.Step, detail.State, detail.Last = e.Step, e.State, e.Time
		}
	}
	boot := Boot(g.Root)
	why := "its process was killed"
	switch {
	case g.took:
		detail.Cause, why = Asked, "it was going on by itself, and somebody runs it again"
	case g.again != nil:
		detail.Cause, why = Failed, "the last attempt failed: "+evidence(g.again)
	case u.Waits == plan.WaitingReboot && u.WaitBoot != boot:
		detail.Cause, why = Rebooted, "the machine has been rebooted, which it waited for"
	case u.Waits == plan.WaitingReboot:
		detail.Cause, why = Asked, "it waits for a reboot, and somebody asks again"
	case u.Waits == plan.WaitingUser:
		detail.Cause, why = Asked, "it waited for consent"
	case u.Boot != boot:
		detail.Cause, why = Restarted, "the machine went down meanwhile (power cut, crash or reboot)"
	}
	text := fmt.Sprintf("Going on with the %s that began %s: %s", u.Command, u.Began.UTC().Format(time.RFC3339), why)
	if detail.Step != "" {
		text += fmt.Sprintf("; step %s was %s", detail.Step, detail.State)
	}
	return event("resumed", text, detail)
}

// Interruption is the detail of an event of the kind "resumed".
type Interruption struct {
	Command string     `json:"command"`
	Began   time.Time  `json:"began"`
	Cause   string     `json:"cause"`
	Step    string     `json:"step,omitempty"` // the last that the journal knows of
	State   plan.State `json:"state,omitempty"`
	Last    time.Time  `json:"last,omitzero"` // when the journal was last written
	Attempt int        `json:"attempt"`       // by itself, since it last got further; 0: a user has started it
}

// The causes of an interruption.
const (
	Killed    = "killed"    // the process ended, the machine did not
	Restarted = "restarted" // the machine went down: power cut, crash or reboot
	Rebooted  = "rebooted"  // it was waiting for that
	Failed    = "failed"    // for a reason that may be gone by now
	Asked     = "asked"     // it waits, or goes on by itself, and a user runs it again
)

func (g *Guard) now() time.Time {
	if g.Now != nil {
		return g.Now()
	}
	return time.Now()
}

func (g *Guard) log() *slog.Logger {
	if g.Log != nil {
		return g.Log
	}
	return slog.New(slog.DiscardHandler)
}
