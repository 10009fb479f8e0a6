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
	"path/filepath"
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

// nearest returns the data directory, or its nearest parent that exists.
func (e Env) nearest() string {
	dir := filepath.Clean(cmp.Or(e.DataDir, host.ClusterDir))
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// Trial tries one thing. Run returns no error if the machine allows it, an error that says what was seen if not, and an
// error that wraps errNotTried if it could not be tried. An error that wraps errNotUndone means that the trial left
// something. Of the result, Detail and Value are Run's; OK follows from the error.
type Trial struct {
	Name  string        // one of the constants
	Title string        // for people: "lower an oom_score_adj"
	Limit time.Duration // what Run gets, for one that is slow and loads no kernel modules; 0 means defaultLimit
	Run   func(ctx context.Context, e Env) (Result, error)
}

var (
	errNotTried  = errors.New("not tried")
	errNotUndone = errors.New("not undone")
)

func result(r Result, err error) Result {
	switch {
	case err == nil:
		r.OK = host.Is(true)
		return r
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
	if ms := s.Snapshot().Numbers[Fsync]; ms > 0 { // null reads as 0
		r[Fsync] = Result{OK: host.Is(true), Detail: cmp.Or(r[Fsync].Detail, fmt.Sprintf("%.3g ms", ms)), Value: host.Is(ms)}
	}
	return r
}
