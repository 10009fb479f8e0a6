// Package trial finds out what a machine allows by trying it: each trial does one thing in a throw-away namespace,
// control group or folder, undoes it and looks whether it is undone. What files say of a kernel is often wrong in both
// directions; what it did is not. No trial starts a process, and none judges.
package trial

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/host"
)

// Timeout is the time that all trials together get.
const Timeout = 8 * time.Second

// Names of the trials, as captured machines use them.
const (
	Overlay         = "overlay"
	Netns           = "netns"
	Vxlan           = "vxlan"
	Nft             = "nft"
	IPTablesComment = "iptables_comment"
	CgroupCreate    = "cgroup_create"
	SysctlWrite     = "sysctl_write"
	OOMScoreAdj     = "oom_score_adj"
	Kmsg            = "kmsg"
	ModuleLoad      = "module_load"
	Fsync           = "fsync_p99_ms" // its Value is the 99th percentile in milliseconds; captured under "numbers"
)

// Result is the outcome of one trial: OK unknown means that it could not be tried.
type Result = host.TrialResult

// Results are the outcomes by name. A trial that is not there was not run.
type Results map[string]Result

// OK returns the outcome of a trial; unknown if it was not run.
func (r Results) OK(name string) host.Known[bool] { return r[name].OK }

// Env is what the trials work on.
type Env struct {
	// DataDir is the directory whose file system is tried. Empty means host.ClusterDir.
	DataDir string
}

func (e Env) dataDir() string { return cmp.Or(e.DataDir, host.ClusterDir) }

// Trial tries one thing. Run returns nil if the machine allows it, an error that says what was seen if not, and an error
// that wraps errNotTried if it could not be tried. An error that wraps errNotUndone means that the trial left something.
type Trial struct {
	Name  string // one of the constants
	Title string // for people: "lower an oom_score_adj"
	Run   func(ctx context.Context, e Env) error
}

var (
	errNotTried  = errors.New("not tried")
	errNotUndone = errors.New("not undone")
)

// All returns the trials in the order in which they run.
func All() []Trial {
	return []Trial{oomScoreAdj(), sysctlWrite(), cgroupCreate(), kmsg(), overlay()}
}

// Run runs all trials, one after the other, within [Timeout]. It tries this machine, and needs root. The error is not nil
// only if a trial could not be undone; the results are complete then too.
func Run(ctx context.Context, e Env) (Results, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	results := Results{}
	var left []error
	for _, t := range All() {
		var err error
		switch {
		case ctx.Err() != nil:
			err = fmt.Errorf("%w: %w", errNotTried, ctx.Err())
		case os.Geteuid() != 0: // what is denied to others says nothing of what root may do
			err = fmt.Errorf("%w: root is needed", errNotTried)
		default:
			err = t.Run(ctx, e)
		}
		results[t.Name] = result(err)
		if errors.Is(err, errNotUndone) {
			left = append(left, fmt.Errorf("cannot undo the trial %s: %w", t.Name, err))
		}
	}
	return results, errors.Join(left...)
}

func result(err error) Result {
	switch {
	case err == nil:
		return Result{OK: host.Is(true)}
	case errors.Is(err, errNotTried), errors.Is(err, errNotUndone):
		return Result{Detail: err.Error()}
	}
	return Result{OK: host.Is(false), Detail: err.Error()}
}

// Of returns the trials of a captured machine; those of a live one have to be run.
func Of(s *host.System) Results {
	r := Results{}
	for name, v := range s.Snapshot().Trials {
		r[name] = v
	}
	return r
}
