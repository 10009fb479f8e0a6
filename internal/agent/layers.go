package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/health"
)

// When the layers that need pods are proved again. A round makes two pods, a Service and a claim for some seconds.
const (
	proveEvery  = 12 * time.Hour   // while all of them are as they should be
	proveBroken = 5 * time.Minute  // after a round that failed; twice as long after each further one
	proveSlow   = 2 * time.Hour    // but no longer than this
	proveCame   = 30 * time.Second // after the cluster has come back: its own pods come first
	proveFirst  = 10 * time.Minute // where nothing was ever proved: an install is at it, or an older version has made the cluster
	proveLook   = 5 * time.Second  // how often it is looked whether it is time
)

// prover keeps the conditions of the layers that cannot be looked at without a pod: it takes over what an install has proved,
// and proves again when the cluster has come back, when somebody asks, and otherwise rarely.
type prover struct {
	source  *cluster.Source
	health  *health.Tracker
	path    string // of the record
	adopted bool
	probe   cluster.Probe
	log     *slog.Logger
	// mine reports whether it is this machine that proves by itself: the servers of a cluster would use the same names. nil
	// means that it always is.
	mine func() bool

	asked chan chan error // each gets the end of the round that was asked for

	mu     sync.Mutex  // held while the record is read or written
	seen   os.FileInfo // of the file that was read last; a new content is a new file
	record health.Record
}

func newProver(source *cluster.Source, tracker *health.Tracker, path string, probe cluster.Probe, log *slog.Logger) *prover {
	return &prover{source: source, health: tracker, path: path, adopted: probe.Adopted, log: log, asked: make(chan chan error),
		probe: probe}
}

// layers are those that are proved here; the API, the nodes and the DNS are looked at all the time.
func (p *prover) layers() []cluster.Layer {
	if p.adopted { // not even a pod is made in a cluster of somebody else's, beyond that of the install
		return nil
	}
	return slices.DeleteFunc(cluster.Layers(p.probe), func(l cluster.Layer) bool { return !l.Probe })
}

// run proves until ctx ends.
func (p *prover) run(ctx context.Context) error {
	p.load()
	if p.adopted {
		p.keep(cluster.Unproved(time.Now().UTC()))
	}
	var came time.Time // when the cluster was seen to have come back; zero: it is not there, or has been proved since
	there, failed := false, 0
	for {
		asked, err := p.wait(ctx, proveLook)
		if err != nil {
			return err
		}
		p.load()
		up := p.health.Get(health.ClusterReachable).Status == health.True
		if up && !there {
			came = time.Now()
		}
		there = up
		if asked == nil && (!up || !p.due(came, failed)) {
			continue
		}
		err = p.round(ctx)
		if asked != nil {
			asked <- err
		}
		came, failed = time.Time{}, failed+1
		if p.well() {
			failed = 0
		}
	}
}

// wait returns when somebody asks for a round, whom it returns, or when the time is over.
func (p *prover) wait(ctx context.Context, d time.Duration) (chan error, error) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case asked := <-p.asked:
		return asked, nil
	case <-timer.C:
		return nil, nil
	}
}

// due reports whether it is time for a round. What an install proves counts as ours.
func (p *prover) due(came time.Time, failed int) bool {
	if p.adopted || p.mine != nil && !p.mine() {
		return false
	}
	last := p.last()
	if !came.IsZero() && last.IsZero() {
		return time.Since(came) >= proveFirst
	}
	if !came.IsZero() && last.Before(came) {
		return time.Since(came) >= proveCame
	}
	if p.well() {
		return time.Since(last) >= proveEvery
	}
	return time.Since(last) >= min(proveBroken<<min(max(failed-1, 0), 8), proveSlow)
}

// last returns when the layers were proved last: the oldest counts. Zero: one never was, or when the clock was ahead.
func (p *prover) last() time.Time {
	now := time.Now()
	oldest := now
	for _, l := range p.layers() {
		c := p.health.Get(l.Condition)
		if c.Checked.After(now) {
			return time.Time{}
		}
		if c.Checked.Before(oldest) {
			oldest = c.Checked
		}
	}
	return oldest
}

// well reports whether no layer has failed, or was left out since another has.
func (p *prover) well() bool {
	return !slices.ContainsFunc(p.layers(), func(l cluster.Layer) bool {
		c := p.health.Get(l.Condition)
		return c.Status == health.False || c.Reason == cluster.NotProved || c.Checked.IsZero()
	})
}

// now proves when it is asked to, and returns at the end of the round.
func (p *prover) now(ctx context.Context) error {
	ended := make(chan error, 1)
	select {
	case p.asked <- ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// removeTimeout is how long the end of a round may take to remove its objects.
const removeTimeout = 15 * time.Second

// round proves all layers once and keeps the outcomes. An error means that nothing could be tried.
func (p *prover) round(ctx context.Context) error {
	client, err := p.source.Client()
	if err != nil {
		return err
	}
	if p.adopted {
		return nil
	}
	began := time.Now()
	outcomes := cluster.Prove(ctx, p.source, p.layers(), cluster.Again).Outcomes()
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	left := cluster.Probe{Name: cluster.InstallProbe} // an install that was killed
	if err := errors.Join(p.probe.Remove(clean, client), left.RemoveOrphans(clean, client, time.Now())); err != nil {
		p.log.Warn("objects of the proof are left", "err", err)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	p.keep(outcomes)
	p.log.Info("layers proved", "duration", time.Since(began), "well", p.well())
	return nil
}

// keep makes outcomes conditions and writes them down.
func (p *prover) keep(outcomes []cluster.Outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read()
	for _, o := range outcomes {
		p.health.Keep(o.Kept())
		p.record = p.record.With(o.Kept())
		if o.Err != nil {
			p.log.Warn("a layer is not proved", "layer", o.Layer.ID, "err", o.Err)
		}
	}
	if err := p.record.Save(p.path); err != nil {
		p.log.Warn("what was proved is not kept", "err", err)
	}
}

// load takes over the record if it has changed: another process, an install, proves too.
func (p *prover) load() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read()
}

// read must be called with the lock held.
func (p *prover) read() {
	info, err := os.Stat(p.path)
	if err != nil || p.seen != nil && os.SameFile(info, p.seen) && info.ModTime().Equal(p.seen.ModTime()) {
		return
	}
	p.seen = info
	record, err := health.LoadRecord(p.path)
	if err != nil {
		p.log.Warn("the record of health is not used", "err", err)
		return
	}
	p.record = record
	for _, l := range cluster.Layers(cluster.Probe{}) {
		if c, ok := record.Get(l.Condition); ok && l.Probe {
			p.health.Keep(c)
		}
	}
}
