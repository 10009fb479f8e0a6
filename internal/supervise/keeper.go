package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/backoff"
	"github.com/pipeopshq/pipeops-agent/internal/command"
)

const (
	// firstWait and longestWait are those before a service is started anew: k3s under systemd waits 5 s every time.
	firstWait   = time.Second
	longestWait = 30 * time.Second
	// healthy is how long a service must have run for the next wait to be the first again.
	healthy = time.Minute
	// burial is how long SIGKILL may take: a process that waits for a disk which does not answer may stay for ever.
	burial = 10 * time.Second
)

// errUndefined is why a service is not started whose definition is gone.
var errUndefined = errors.New("its definition is gone")

// The things that a keeper can be asked for.
const (
	verbStart   = "start"    // if it does not run
	verbRestart = "restart"  // or start
	verbStop    = "stop"     // the main process, and what it has started unless that lives on
	verbStopAll = "stop-all" // with all that it has started
	verbReset   = "reset"    // forget that it has failed
	verbTrigger = "trigger"  // its file is there
)

// request asks a keeper for one of these; the answer comes when it is done.
type request struct {
	verb  string
	reply chan error
}

// starter brings a service to life. It returns how its process can be waited for and signalled.
type starter func(s Service) (process, error)

// keeper looks after one service: one goroutine, [keeper.run], changes its state.
type keeper struct {
	start   starter
	forget  func()                               // the record of its process
	end     func(context.Context, Service) error // runs what stops a service that remains
	kill    func(context.Context) error          // all that carries the mark of the service
	draw    func(time.Duration) time.Duration
	log     *slog.Logger
	ask     chan request
	said    chan struct{} // it is alive: see Service.Watchdog
	unknown bool          // its definition is gone; it is not started any more
	owes    bool          // the program that stops it has failed, and is still to be run

	mu      sync.Mutex
	service Service
	status  Status
}

func newKeeper(s Service, enabled bool, start starter, log *slog.Logger) *keeper {
	return &keeper{
		start: start, forget: func() {}, end: func(context.Context, Service) error { return nil }, kill: func(context.Context) error { return nil }, log: log.With("service", s.Name),
		ask: make(chan request), said: make(chan struct{}, 1), service: s,
		status: Status{Name: s.Name, Title: s.Title, Enabled: enabled, Active: inactive, Sub: "dead", Log: s.Log},
	}
}

// Status returns how the service is.
func (k *keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

// definition returns what is started the next time.
func (k *keeper) definition() Service {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.service
}

func (k *keeper) redefine(s Service) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.service, k.status.Title, k.status.Log, k.unknown = s, s.Title, s.Log, false
}

// undefine keeps the service from being started anew.
func (k *keeper) undefine() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unknown, k.status.Enabled = true, false
}

// gone reports whether its definition is.
func (k *keeper) gone() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.unknown
}

func (k *keeper) enable(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.status.Enabled = on
}

func (k *keeper) set(change func(s *Status)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.status.Active + k.status.Sub
	change(&k.status)
	if k.status.Active+k.status.Sub != before {
		k.status.Since = time.Now()
	}
}

// do asks for something and waits until it is done.
func (k *keeper) do(ctx context.Context, verb string) error {
	r := request{verb: verb, reply: make(chan error, 1)}
	select {
	case k.ask <- r:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-r.reply:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hear takes what the service says of itself.
func (k *keeper) hear(n notice) {
	k.mu.Lock()
	if n.ready && k.status.Active == activating && k.status.Sub == "start" {
		k.status.Active, k.status.Sub, k.status.Since = active, "running", time.Now()
	}
	if n.status != "" {
		k.status.Says = n.status
	}
	k.mu.Unlock()
	if n.alive || n.ready {
		select {
		case k.said <- struct{}{}:
		default: // one is enough
		}
	}
}

// life is one run of a service's main process.
type life struct {
	process
	service Service
	began   time.Time
	ended   chan command.Exit
	over    bool // it was told to end, and is not to be started anew when it does
	bitten  bool // by the watchdog
}

// run looks after the service until ctx ends; what runs by then runs on. first is a process that runs already, or nil.
func (k *keeper) run(ctx context.Context, first process) {
	waits := backoff.Backoff{Base: firstWait, Cap: longestWait, Rand: k.draw}
	var now *life
	if first != nil {
		now = k.watch(first, k.definition())
		k.set(func(s *Status) { s.Active, s.Sub, s.PID, s.Adopted = active, "running", first.Number(), true })
		k.log.Info("taken over", "pid", first.Number())
	}
	again := time.NewTimer(time.Hour)
	again.Stop()
	alive := time.NewTimer(time.Hour)
	alive.Stop()
	defer again.Stop()
	defer alive.Stop()
	heed := func() {
		if alive.Stop(); now != nil && now.service.watchdog() > 0 {
			now.bitten = false
			alive.Reset(now.service.watchdog())
		}
	}
	heed()
	begin := func() error {
		var err error
		now, err = k.begin()
		heed()
		return err
	}
	stop := func(all bool) error {
		gone, err := k.stop(ctx, now, all)
		if gone { // whatever else has failed
			now = nil
		}
		heed()
		return err
	}
	for {
		var ended chan command.Exit
		if now != nil {
			ended = now.ended
		}
		select {
		case <-ctx.Done():
			return
		case r := <-k.ask:
			var err error
			switch r.verb {
			case verbStart, verbRestart:
				if r.verb == verbStart && (now != nil || k.Status().Sub == exited) {
					break
				}
				again.Stop()
				if k.gone() {
					err = errUndefined
					break
				}
				k.owes = false // a start does not wait for an old stop
				if err = stop(false); err == nil {
					waits.Reset()
					k.set(func(s *Status) { s.Restarts = 0 })
					if k.definition().When != "" {
						k.await()
					} else if err = begin(); err != nil && !k.definition().Once {
						again.Reset(k.waiting(waits.Next()))
					}
				}
			case verbTrigger:
				if now == nil && k.Status().Sub == awaits {
					if err = begin(); err != nil {
						again.Reset(k.waiting(waits.Next()))
					}
				}
			case verbStop, verbStopAll:
				again.Stop()
				err = stop(r.verb == verbStopAll)
			case verbReset:
				k.set(func(s *Status) {
					if s.Active == failed {
						s.Active, s.Sub, s.Restarts = inactive, "dead", 0
					}
				})
			}
			r.reply <- err
		case exit := <-ended:
			if time.Since(now.began) >= healthy {
				waits.Reset()
			}
			if k.buried(ctx, now, exit) {
				again.Reset(k.waiting(waits.Next()))
			}
			now = nil
			heed()
		case <-again.C:
			if k.gone() {
				k.set(func(s *Status) { s.Active, s.Sub, s.Next = inactive, "dead", time.Time{} })
				break
			}
			if k.definition().When != "" {
				k.await()
				break
			}
			k.set(func(s *Status) { s.Restarts++ })
			if err := begin(); err != nil {
				k.log.Warn("not started", "err", err)
				again.Reset(k.waiting(waits.Next()))
			}
		case <-k.said:
			heed()
		case <-alive.C:
			if now != nil { // as systemd does: the first leaves a trace of where it hangs, the second is heeded by all
				signal := syscall.SIGABRT
				if now.bitten {
					signal = syscall.SIGKILL
				}
				now.bitten = true
				k.log.Warn("it does not say that it is alive, and is started anew", "pid", now.Number(), "signal", signal)
				if err := now.Signal(signal); err != nil {
					k.log.Warn("not ended", "err", err)
				}
				alive.Reset(now.service.watchdog())
			}
		}
	}
}

// await has the service wait for its file.
func (k *keeper) await() {
	k.set(func(s *Status) { s.Active, s.Sub, s.Next = active, awaits, time.Time{} })
}

// begin starts the process. Neither a process nor an error means that there is nothing to run now.
func (k *keeper) begin() (*life, error) {
	s := k.definition()
	if s.Needs != "" {
		if _, err := os.Stat(s.Needs); errors.Is(err, os.ErrNotExist) {
			k.set(func(st *Status) {
				st.Active, st.Sub, st.Next, st.Says = inactive, "dead", time.Time{}, "waits for "+s.Needs
			})
			return nil, nil
		}
	}
	k.set(func(st *Status) {
		st.Active, st.Sub, st.Adopted, st.Says, st.Next = activating, "start", false, "", time.Time{}
	})
	p, err := k.start(s)
	if err != nil {
		k.set(func(st *Status) {
			st.Active, st.Sub, st.Last, st.Code, st.Ended = failed, failed, err.Error(), -1, time.Now()
		})
		return nil, err
	}
	k.set(func(st *Status) {
		st.PID = p.Number()
		if !s.Notify && !s.Remains && st.Active == activating {
			st.Active, st.Sub = active, "running"
		}
	})
	k.log.Info("started", "pid", p.Number())
	return k.watch(p, s), nil
}

func (k *keeper) watch(p process, s Service) *life {
	l := &life{process: p, service: s, began: time.Now(), ended: make(chan command.Exit, 1)}
	go func() { l.ended <- p.Wait() }() // it ends with the process, or when nobody waits for one of an earlier supervisor any more
	return l
}

// waiting says when the next start is, and returns d.
func (k *keeper) waiting(d time.Duration) time.Duration {
	k.set(func(s *Status) { s.Active, s.Sub, s.Next = activating, autoRestart, time.Now().Add(d) })
	return d
}

// buried notes how a process ended, and returns whether it is to be started anew.
func (k *keeper) buried(ctx context.Context, l *life, exit command.Exit) (again bool) {
	k.died(exit)
	k.log.Info("ended", "pid", l.Number(), "how", exit.String(), "after", time.Since(l.began).Round(time.Millisecond))
	if !l.service.Alone {
		if err := k.kill(ctx); err != nil {
			k.log.Warn("what it has started runs on", "err", err)
		}
	}
	if l.over {
		k.set(func(s *Status) { s.Active, s.Sub, s.Next = inactive, "dead", time.Time{} })
		return false
	}
	bad := !l.service.succeeded(exit.Code)
	again = !l.service.Once || exit.Signal != 0 || bad && (l.service.Remains || l.service.When != "")
	k.set(func(s *Status) {
		switch {
		case bad && l.service.Once:
			s.Active, s.Sub = failed, failed
		case l.service.When != "":
			s.Active, s.Sub = active, awaits
		case l.service.Remains:
			s.Active, s.Sub = active, exited
		default:
			s.Active, s.Sub = inactive, "dead"
		}
	})
	return again && !k.gone()
}

// died notes that there is no process any more.
func (k *keeper) died(exit command.Exit) {
	k.forget()
	k.set(func(s *Status) {
		s.PID, s.Adopted, s.Last, s.Code, s.Ended = 0, false, exit.String(), exit.Code, time.Now()
	})
}

// stop ends the process, if there is one: SIGTERM, and SIGKILL when its grace is over. With all, or if the service is not one
// whose children live on, these end too. It returns whether there is no process any more, also where something else has failed.
func (k *keeper) stop(ctx context.Context, l *life, all bool) (gone bool, err error) {
	s := k.definition()
	if l != nil {
		s = l.service
		if err := k.terminate(ctx, l); err != nil {
			return false, err
		}
	}
	if len(s.Stop) > 0 && (l != nil || k.owes || k.Status().Sub == exited) {
		k.set(func(st *Status) { st.Active, st.Sub = deactivating, "stop" })
		err := k.end(ctx, s)
		if k.owes = err != nil; k.owes {
			k.set(func(st *Status) { st.Active, st.Sub = failed, failed })
			return true, err
		}
		k.set(func(st *Status) { st.Active, st.Sub = inactive, "dead" })
	}
	if all || l != nil && !s.Alone {
		if err := k.kill(ctx); err != nil {
			return true, err
		}
	}
	if k.Status().Active != failed || all {
		k.set(func(st *Status) { st.Active, st.Sub, st.Next = inactive, "dead", time.Time{} })
	}
	return true, nil
}

// terminate ends the process.
func (k *keeper) terminate(ctx context.Context, l *life) error {
	k.set(func(st *Status) { st.Active, st.Sub = deactivating, "stop" })
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGTERM, l.service.grace()}, {syscall.SIGKILL, burial}} {
		if step.signal == syscall.SIGKILL {
			k.log.Warn("it does not end, and is killed", "after", l.service.grace())
		}
		if err := l.Signal(step.signal); err != nil {
			return err
		}
		l.over = true
		limit := time.NewTimer(step.wait)
		defer limit.Stop()
		select {
		case exit := <-l.ended:
			k.died(exit)
			return nil
		case <-limit.C:
		case <-ctx.Done():
			return fmt.Errorf("process %d does not end: %w", l.Number(), ctx.Err())
		}
	}
	return fmt.Errorf("process %d does not end, not even by SIGKILL: it waits for a disk or the kernel", l.Number())
}
