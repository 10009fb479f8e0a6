package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// When the credential is looked at, renewed and asked for.
const (
	keepEvery = 5 * time.Second
	// A token is renewed after two thirds of its life, less up to this part of it, so that machines that were installed together do
	// not come together.
	renewJitter = 20
	renewAgain  = 30 * time.Second // after a renewal that failed
	// refusedFor is how long the account must be refused until that is believed: an API server that is starting does not know its
	// accounts yet.
	refusedFor = 10 * time.Second
	// silentFor is how long nobody answers until it is asked whether the cluster has another address now.
	silentFor = time.Minute
	// missingFor is how long there may be no credential at all: an install is about to make it.
	missingFor = 45 * time.Second
	askAgain   = time.Minute // after a request that did not help; twice as long after each further one
	askSlow    = time.Hour   // but no longer than this
)

// keeper keeps the agent's own access to the cluster: it renews the token in time, and where the token is of no use any more asks
// for a new credential, which takes the administrator's kubeconfig and so another process.
type keeper struct {
	path    string // of the credential
	request string // the file that asks for a new one
	life    time.Duration
	health  *health.Tracker
	log     *slog.Logger
	renew   func(ctx context.Context, path string, life time.Duration) error

	mu    sync.Mutex
	last  error     // of the look at the API server
	since time.Time // of the first of such looks in a row; zero: it answers
	taken bool      // the API server has answered since the present credential was made

	missing  time.Time // since when there is no credential; zero: there is one
	held     time.Time // when the present token was issued
	due      time.Time // when it is renewed
	notUntil time.Time // a renewal, and a request
	failed   error     // of the last renewal
	asked    time.Time
	patience time.Duration // from that request to the next
}

func newKeeper(o Options, tracker *health.Tracker) *keeper {
	return &keeper{
		path: o.Kubeconfig, request: filepath.Join(o.StateDir, cluster.RequestFile), life: cmp.Or(o.TokenLife, cluster.TokenLife),
		health: tracker, log: o.Log.With("service", "credential"), renew: cluster.Renew,
	}
}

// saw is told what came of a look at the API server.
func (k *keeper) saw(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	sort := func(err error) int { // another kind of trouble begins anew
		switch {
		case cluster.Unauthorized(err), cluster.Untrusted(err):
			return 1
		}
		return 2
	}
	switch {
	case err == nil || errors.Is(err, fs.ErrNotExist): // without a file nobody was asked
		k.last, k.since, k.taken = nil, time.Time{}, k.taken || err == nil
	case k.last == nil || sort(k.last) != sort(err):
		k.last, k.since = err, time.Now()
	default:
		k.last = err
	}
}

// run keeps the credential until ctx ends.
func (k *keeper) run(ctx context.Context) error {
	for {
		k.look(ctx)
		if err := pause(ctx, keepEvery, nil); err != nil {
			return err
		}
	}
}

func (k *keeper) look(ctx context.Context) {
	now := time.Now()
	held, err := cluster.ReadCredential(k.path)
	if err != nil {
		k.without(err, now)
		return
	}
	k.missing = time.Time{}
	k.hold(held)
	ended := !now.Before(held.Expires) && !k.isTaken() // a clock that is ahead ends no token that is taken
	if !now.Before(k.due) && !ended && !now.Before(k.notUntil) {
		k.notUntil = now.Add(min(renewAgain, k.life/4))
		if k.failed = k.renew(ctx, k.path, k.life); k.failed == nil {
			k.log.Info("the token of the agent's account is renewed")
			if held, err = cluster.ReadCredential(k.path); err != nil {
				return
			}
			k.hold(held)
			// by a clock that is far ahead of the API server's, the new one is due at once
			k.notUntil = now.Add(min(k.life, held.Expires.Sub(held.Issued)) / 4)
		} else if ctx.Err() == nil {
			k.log.Warn("the token of the agent's account is not renewed", "err", k.failed)
		}
	}
	k.judge(held, ended, now)
}

// hold takes notice of another credential.
func (k *keeper) hold(held cluster.Credential) {
	if held.Issued.Equal(k.held) {
		return
	}
	k.held, k.due, k.failed = held.Issued, due(held, k.life), nil
	k.mu.Lock()
	defer k.mu.Unlock()
	k.taken = false
}

func (k *keeper) isTaken() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.taken
}

// without is what is done where there is no credential, or none that can be read.
func (k *keeper) without(err error, now time.Time) {
	if k.missing.IsZero() {
		k.missing = now
	}
	if errors.Is(err, fs.ErrNotExist) && now.Sub(k.missing) < missingFor {
		k.health.Set(health.ClusterAccess, health.Unknown, "NotMade", "the agent has no credential yet")
		return
	}
	k.lost(err, now)
}

// judge says what is known of the credential, and asks for another one if it is of no use.
func (k *keeper) judge(held cluster.Credential, ended bool, now time.Time) {
	k.mu.Lock()
	last, since := k.last, k.since
	k.mu.Unlock()
	refused := cluster.Unauthorized(last) || cluster.Untrusted(last)
	until := "its token is good until " + held.Expires.Format(time.RFC3339)
	switch {
	case refused && now.Sub(since) >= refusedFor:
		k.lost(last, now)
	case ended:
		k.lost(errors.New("its token has ended at "+held.Expires.Format(time.RFC3339)), now)
	case refused: // until it is sure
	case last != nil && now.Sub(since) >= silentFor:
		k.ask("nobody answers: "+last.Error(), now)
		k.health.Set(health.ClusterAccess, health.Unknown, "Unreachable", until)
	case last != nil: // that it does not answer says nothing of the account
	case k.failed != nil:
		k.health.Set(health.ClusterAccess, health.True, "NotRenewed", until+"; it is not renewed: "+k.failed.Error())
	default:
		k.asked, k.patience = time.Time{}, 0
		k.health.Set(health.ClusterAccess, health.True, "Valid", until)
		if err := atomicfile.Remove(k.request); err != nil { // that nobody has taken
			k.log.Warn("the request for a credential stays", "err", err)
		}
	}
}

// lost says that the cluster does not know the agent, and asks for a new credential.
func (k *keeper) lost(why error, now time.Time) {
	k.ask(why.Error(), now)
	k.health.Set(health.ClusterAccess, health.False, string(reason.ClusterAccess), fmt.Sprintf("%v; a new credential is asked for", why))
}

// ask asks for a new credential, ever more rarely while that does not help.
func (k *keeper) ask(why string, now time.Time) {
	if !k.asked.IsZero() && now.Sub(k.asked) < k.patience {
		return
	}
	k.asked, k.patience = now, min(max(2*k.patience, askAgain), askSlow)
	if err := cluster.Ask(k.request, why); err != nil {
		k.log.Warn("no new credential can be asked for", "err", err)
		return
	}
	k.log.Warn("a new credential for the cluster is asked for", "why", why)
}

// due is when a token is renewed: after two thirds of the time that it is used. The API server may give it a longer life than is
// asked for, or a shorter one.
func due(held cluster.Credential, life time.Duration) time.Time {
	used := min(life, held.Expires.Sub(held.Issued))
	return held.Issued.Add(used*2/3 - rand.N(used/renewJitter+1))
}
