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
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/baseline"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/transport"
	"github.com/pipeopshq/pipeops-agent/internal/tunnel"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// UninstallOptions say what is to be removed.
type UninstallOptions struct {
	StateDir   string
	Kubeconfig string // of a cluster that was adopted
	Context    string // of that kubeconfig
	Program    string // path of this binary; "" leaves it alone
	KeepData   bool   // the volumes of the cluster stay
	KeepAgent  bool   // the program stays

	Transport *transport.Dialer // how the gateway is reached; nil: directly

	// Confirm asks the user; nil means that the user has said yes beforehand. An uninstall that goes on is not asked about.
	Confirm func(context.Context, Undoing) (bool, error)

	Host   *host.System
	Events func(wire.Event)
	Log    *slog.Logger

	ledger      string                      // of an install elsewhere that may need the program; "" is that of this machine
	resume      func(context.Context) error // starts the unit that resumes; nil: of this machine
	programDirs []string                    // nil: programDirs()
}

// Uninstall makes the machine what it was before the first install, or goes on where an earlier call was stopped: the agent
// stops, then every change of the ledger is undone, the newest first, then the difference to how the machine was is told, the
// gateway forgets the cluster, and the agent's own state and program go. Until the last of these, the next call knows how to
// go on. The error is BUSY, CLUSTER_FOREIGN, NODE_NEEDED, UNINSTALL_INCOMPLETE, UNINSTALL_REMAINS, INTERRUPTED, USAGE where the state folder is
// somebody else's, HOST_NO_SYSTEMD where nobody can stop services, or one of the disk.
func Uninstall(ctx context.Context, o UninstallOptions) (err error) {
	if _, err := os.Stat(o.StateDir); errors.Is(err, fs.ErrNotExist) {
		o.Events(event("done", "Nothing is installed here by pipeops-agent: there is no "+o.StateDir, nil))
		if o.Confirm == nil {
			return o.removeProgram(ctx)
		}
		return nil
	}
	store, _, err := Options{StateDir: o.StateDir, Events: o.Events}.takeOver(ctx)
	if err != nil {
		return named(err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	// The unit that resumes is not started beside an uninstall, which takes it away last: it goes on at the next boot, as long as
	// it is there.
	err = o.run(ctx, newGuard(store, o.StateDir, plan.UninstallPlan))
	o.giveBack(ctx)
	return err
}

// giveBack lets an install go on by itself that is unfinished still: the uninstall that it yielded to has not begun.
func (o UninstallOptions) giveBack(ctx context.Context) {
	if u, err := ReadUnfinished(o.StateDir); err != nil || u == nil || !slices.Contains([]string{installCommand, joinCommand}, u.Command) {
		return
	}
	start := func(ctx context.Context) error { return startResume(ctx, o.StateDir) }
	if o.resume != nil {
		start = o.resume
	}
	if err := start(context.WithoutCancel(ctx)); err != nil {
		o.Log.Warn("the install does not go on by itself before the next boot", "err", err)
	}
}

// UninstallOperation returns how an uninstall is gone on with. options makes its options; with what it was begun it knows.
func UninstallOperation(options func() (UninstallOptions, error)) Operation {
	return func(ctx context.Context, g *Guard, _ json.RawMessage) error {
		o, err := options()
		if err != nil {
			return g.End(ctx, reason.New(reason.NotResumed, "the settings of the uninstall", err))
		}
		return o.run(ctx, g)
	}
}

// run is one run of an uninstall, below its guard.
func (o UninstallOptions) run(ctx context.Context, guard *Guard) (err error) {
	began := time.Now()
	store := guard.Store
	defer func() { err = guard.End(ctx, named(err)) }()
	wish, begun, err := readUninstallWish(o.StateDir)
	if err != nil {
		return err
	}
	if guard.alone && !begun { // it is written before the note, and removed after it
		return reason.Newf(reason.NotResumed, "there is no %s, which says what the uninstall is to keep", uninstallFile).
			WithFix("run pipeops-agent uninstall again, with --keep-data if the volumes are to stay")
	}
	o.KeepData, o.KeepAgent = o.KeepData || wish.KeepData, o.KeepAgent || wish.KeepAgent
	what := o.undoing(ctx, store.Ledger.Changes())
	if what.Volumes == "" { // the ledger has got beyond it
		what.Volumes = wish.Volumes
	}
	id, unknown := identity.Load(filepath.Join(o.StateDir, "identity"))
	facts := host.Collect(ctx, o.Host)
	if !begun && what.Volumes != "" {
		if err := sharedNode(facts); err != nil {
			return err
		}
	}
	first := id != nil && leavesFirst(id, facts)
	var own ownServer
	if first {
		own = o.ownServer(ctx, id, facts)
		if err := own.spared(id.Cluster()); err != nil && !begun {
			return err
		}
	}
	if o.Confirm != nil && !begun && (id != nil || len(what.Changes) > 0) {
		if yes, err := o.Confirm(ctx, what); err != nil || !yes {
			return err
		}
	}
	if err := writeUninstallWish(o.StateDir, uninstallWish{KeepData: o.KeepData, KeepAgent: o.KeepAgent, Volumes: what.Volumes}); err != nil {
		return err
	}
	if !guard.alone {
		guard.Settings = func() (json.RawMessage, error) { return json.RawMessage("{}"), nil }
	}
	if err := guard.Begin(ctx); err != nil {
		return err
	}
	quiet := func() {}
	if id != nil {
		report := tunnel.NewReporter(id, o.Transport, o.Log)
		show := o.Events
		o.Events = func(e wire.Event) { show(e); report.Send(e) }
		quiet = sync.OnceFunc(func() { // after Leave the gateway has nobody to note it for
			o.Events = show
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
			defer cancel()
			_ = report.Close(ctx)
		})
		defer quiet()
	}
	o.Events(event("uninstall", "Removing what pipeops-agent has installed", what))
	if first {
		quiet()
		o.leaveFirst(ctx, id, own)
	}
	left, err := o.undo(ctx, store, what)
	if err != nil {
		return err
	}
	for _, path := range []string{motd, filepath.Dir(motd)} { // where an install that went on by itself has said so
		_ = os.Remove(path)
	}
	remaining, err := o.prove(ctx, left)
	if err != nil {
		return err
	}
	if !first {
		o.leave(ctx, id, unknown, false)
	}
	err = plan.Discard(ctx, o.StateDir, uninstallFile, UnfinishedFile)
	if err == nil {
		err = o.removeProgram(ctx)
	}
	if err != nil {
		return reason.New(reason.UninstallIncomplete, "", err)
	}
	if err := o.dismiss(ctx); err != nil {
		return err
	}
	if len(remaining) > 0 {
		return reason.Newf(reason.UninstallRemains, "%s", listed(remaining))
	}
	done := event("done", "Done: pipeops-agent is removed from this machine", nil)
	done.DurationMS = time.Since(began).Milliseconds()
	o.Events(done)
	return nil
}

// undo walks the ledger backwards, and returns what stays, each with the reason.
func (o UninstallOptions) undo(ctx context.Context, store *plan.Store, what Undoing) ([]string, error) {
	facts := host.Collect(ctx, o.Host)
	in := distro.Install{Dir: o.StateDir}.On(facts)
	if len(store.Ledger.Changes()) > 0 {
		units, closeUnits, err := connect(ctx, in)
		if err != nil {
			return nil, err
		}
		if in.Supervised { // to stop what runs, somebody must know it
			if _, err := supervisor(o.StateDir).Ensure(ctx, o.Program, distro.SupervisorLog, true); err != nil {
				return nil, err
			}
		}
		defer closeUnits()
		in.Units = units
		store.Undo = in.Undo()
		store.Undo[inCluster] = takeBack(o.Kubeconfig, o.Context, what.Volumes != "")
	}
	var left []string
	for _, c := range store.Ledger.Left() { // of an earlier call, which has told why
		left = append(left, c.Target+": left by an earlier uninstall or roll-back")
	}
	walker := &plan.Uninstaller{Store: store, Log: o.Log, OnEvent: func(e plan.Event) {
		e.Title = "Undo: " + e.Title
		o.Events(stepEvent(e))
	}}
	if o.KeepData && what.Volumes != "" {
		walker.Keep = keepVolumes(what.Volumes)
	}
	reversed, err := walker.Run(ctx)
	for _, r := range reversed {
		left = append(left, r.Left...)
	}
	slices.Sort(left)
	left = slices.Compact(left)
	if ctx.Err() != nil {
		return left, err
	}
	if err != nil {
		return left, reason.New(reason.UninstallIncomplete, "", err)
	}
	for _, l := range left {
		o.Events(event("left", "Left: "+l, l))
	}
	return left, nil
}

// prove compares the machine with how it was, tells the difference, and returns what of it is ours and not left on purpose.
func (o UninstallOptions) prove(ctx context.Context, left []string) ([]string, error) {
	before, err := baseline.Read(o.firstPath())
	if err != nil { // a damaged record must not keep the rest from going
		o.Events(event("proof", "How this machine was cannot be told: "+err.Error(), nil))
		return nil, ctx.Err()
	}
	if before == nil {
		o.Events(event("proof", "How this machine was before the install is not known: the install was stopped before it, or made by an older version", nil))
		return nil, ctx.Err()
	}
	facts := host.Collect(ctx, o.Host)
	now := baseline.Take(ctx, baseline.Env{}, facts)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	ours, others := sorted(before.Compare(now), left, clusterRuns(facts))
	date := before.Taken.Format("2006-01-02 15:04 MST")
	detail := map[string]any{"since": before.Taken, "remaining": ours, "by_others": others}
	switch {
	case len(ours)+len(others)+len(left) == 0:
		o.Events(event("proof", "Clean: this machine is as it was before the install of "+date, detail))
	case len(ours) == 0 && len(others) == 0:
		o.Events(event("proof", "Clean: but for what is left, this machine is as it was before the install of "+date, detail))
	case len(ours) == 0:
		o.Events(event("proof", "Clean: nothing of the install is here any more. Since before the install of "+date+" has changed:", detail))
	default:
		o.Events(event("proof", "Not clean: this is still here that was not before the install of "+date+":", detail))
	}
	for _, d := range ours {
		o.Events(event("remains", "  "+d.String(), d))
	}
	for i, d := range others {
		if i == maxTold { // a cluster that stays has many chains and links; programs have them all in the event before
			o.Events(event("changed", fmt.Sprintf("  and %d more (not by pipeops-agent)", len(others)-i), nil))
			break
		}
		o.Events(event("changed", "  "+d.String()+" (not by pipeops-agent)", d))
	}
	var names []string
	for _, d := range ours {
		names = append(names, d.String())
	}
	return names, nil
}

// maxTold is how many changes of others are told one by one.
const maxTold = 10

func (o UninstallOptions) firstPath() string { return filepath.Join(o.StateDir, firstFile) }

// leave tells the gateway. Where it cannot be told, the uninstall goes on: an administrator can do it there.
// Unknown is why there is no identity; stays says that the cluster goes on without this machine.
func (o UninstallOptions) leave(ctx context.Context, id *identity.Identity, unknown error, stays bool) {
	if id == nil {
		if !reason.Is(unknown, reason.IdentityMissing) {
			o.Events(event("left", fmt.Sprintf("Left: its gateway may still know this machine, whose identity cannot be read (%v); to remove it there: pipeops-gateway clusters remove NAME", unknown), nil))
		}
		return
	}
	err := id.Leave(ctx, o.Transport)
	switch {
	case err != nil && id.Node() != "":
		o.Events(event("left", fmt.Sprintf("Left: the gateway %s still knows the node %s of cluster %s (%v); to remove it there: pipeops-gateway nodes remove %s %s",
			id.Gateway(), id.Node(), id.Cluster(), err, id.Cluster(), id.Node()), nil))
		return
	case id.Node() != "":
		o.Events(event("gateway", fmt.Sprintf("The gateway %s has taken the node %s out of cluster %s", id.Gateway(), id.Node(), id.Cluster()), nil))
		return
	case err != nil:
		o.Events(event("left", fmt.Sprintf("Left: the gateway %s still knows cluster %s (%v); to remove it there: pipeops-gateway clusters remove %s",
			id.Gateway(), id.Cluster(), err, id.Cluster()), nil))
		return
	case stays:
		o.Events(event("gateway", fmt.Sprintf("The gateway %s has taken this machine out of cluster %s", id.Gateway(), id.Cluster()), nil))
		return
	}
	o.Events(event("gateway", fmt.Sprintf("The gateway %s has forgotten cluster %s", id.Gateway(), id.Cluster()), nil))
}
