package supervise

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/command"
)

// actor is a process that the test plays.
type actor struct {
	pid     int
	deaf    bool        // to SIGTERM
	frozen  atomic.Bool // to all but SIGKILL
	once    sync.Once
	exit    chan command.Exit
	signals chan syscall.Signal
}

func (a *actor) Number() int        { return a.pid }
func (a *actor) Wait() command.Exit { return <-a.exit }

func (a *actor) ends(e command.Exit) { a.once.Do(func() { a.exit <- e }) }

func (a *actor) Signal(s syscall.Signal) error {
	a.signals <- s
	if s == syscall.SIGKILL || !a.frozen.Load() && (s != syscall.SIGTERM || !a.deaf) {
		a.ends(command.Exit{Code: -1, Signal: int(s)})
	}
	return nil
}

// stage is where a keeper is tested. Its clock is that of synctest.
type stage struct {
	*keeper
	mu     sync.Mutex
	actors []*actor
	fails  error // of starts
	deaf   bool
	killed atomic.Int32
}

func play(t *testing.T, s Service) *stage {
	t.Helper()
	s.Name, s.Argv, s.Log = "actor", []string{"/bin/actor"}, "/var/log/actor.log"
	st := &stage{}
	st.keeper = newKeeper(s, true, func(Service) (process, error) {
		st.mu.Lock()
		defer st.mu.Unlock()
		if st.fails != nil {
			return nil, st.fails
		}
		a := &actor{pid: 100 + len(st.actors), deaf: st.deaf, exit: make(chan command.Exit, 1), signals: make(chan syscall.Signal, 8)}
		st.actors = append(st.actors, a)
		return a, nil
	}, slog.New(slog.DiscardHandler))
	st.draw = func(n time.Duration) time.Duration { return n - 1 } // the longest
	st.kill = func(context.Context) error { st.killed.Add(1); return nil }
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { st.run(ctx, nil) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		for _, a := range st.actors { // nobody waits for them any more
			a.ends(command.Exit{})
		}
	})
	return st
}

func (st *stage) last() *actor {
	all := st.all()
	return all[len(all)-1]
}

func (st *stage) all() []*actor {
	st.mu.Lock()
	defer st.mu.Unlock()
	return slices.Clone(st.actors)
}

func (st *stage) fail(err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.fails = err
}

func (st *stage) must(t *testing.T, verb string) {
	t.Helper()
	if err := st.do(t.Context(), verb); err != nil {
		t.Fatalf("%s: %v", verb, err)
	}
	synctest.Wait()
}

func (st *stage) is(t *testing.T, active, sub string) {
	t.Helper()
	synctest.Wait()
	if got := st.Status(); got.Active != active || got.Sub != sub {
		t.Errorf("it is %s (%s), want %s (%s)", got.Active, got.Sub, active, sub)
	}
}

func TestWaitsGrowAndAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := play(t, Service{})
		st.must(t, verbStart)
		st.is(t, active, "running")
		for i, want := range []time.Duration{3 * firstWait, 9 * firstWait, 27 * firstWait, longestWait, longestWait} {
			st.last().ends(command.Exit{Code: 1})
			st.is(t, activating, autoRestart)
			wait := time.Until(st.Status().Next)
			if wait.Round(time.Second) != want {
				t.Errorf("wait %d is %s, want %s", i, wait, want)
			}
			time.Sleep(wait)
			st.is(t, active, "running")
			if got := st.Status().Restarts; got != i+1 {
				t.Errorf("%d restarts, want %d", got, i+1)
			}
		}
		time.Sleep(healthy)
		before := time.Now()
		st.last().ends(command.Exit{Code: 1})
		synctest.Wait()
		if next := st.Status().Next.Sub(before).Round(time.Second); next != 3*firstWait {
			t.Errorf("after a minute of work the wait is %s", next)
		}
		st.must(t, verbStop)
		st.is(t, inactive, "dead")
		time.Sleep(time.Hour)
		st.is(t, inactive, "dead")
		st.must(t, verbStart)
		if got := st.Status().Restarts; got != 0 {
			t.Errorf("%d restarts after a start by hand", got)
		}
	})
}

func TestStopKillsWhoDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := play(t, Service{Grace: 7})
		st.deaf = true
		st.must(t, verbStart)
		began := time.Now()
		st.must(t, verbStop)
		if took := time.Since(began); took != 7*time.Second {
			t.Errorf("it took %s", took)
		}
		if first, second := <-st.last().signals, <-st.last().signals; first != syscall.SIGTERM || second != syscall.SIGKILL {
			t.Errorf("%v, %v", first, second)
		}
		st.is(t, inactive, "dead")
		if got := st.Status(); got.PID != 0 || got.Last != "killed by signal 9 (killed)" || st.killed.Load() != 1 {
			t.Errorf("%+v, %d", got, st.killed.Load())
		}
	})
}

func TestWhatLivesOnIsEndedOnlyWithAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := play(t, Service{Alone: true})
		st.must(t, verbStart)
		st.must(t, verbRestart)
		st.last().ends(command.Exit{Code: -1, Signal: 9})
		time.Sleep(longestWait)
		st.must(t, verbStop)
		if st.killed.Load() != 0 || len(st.all()) != 3 {
			t.Errorf("%d kills, %d starts", st.killed.Load(), len(st.all()))
		}
		st.must(t, verbStopAll)
		if st.killed.Load() != 1 {
			t.Errorf("%d kills", st.killed.Load())
		}
	})
}

func TestReadyAndAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := play(t, Service{Notify: true, Watchdog: 30})
		st.must(t, verbStart)
		st.is(t, activating, "start")
		st.hear(notice{ready: true, status: "works"})
		st.is(t, active, "running")
		if says := st.Status().Says; says != "works" {
			t.Errorf("it says %q", says)
		}
		for range 10 {
			time.Sleep(20 * time.Second)
			st.hear(notice{alive: true})
		}
		st.is(t, active, "running")
		time.Sleep(31 * time.Second) // the dog bites, and the first wait is 3 s
		st.is(t, activating, autoRestart)
		if s := <-st.all()[0].signals; s != syscall.SIGABRT {
			t.Errorf("it was sent %v", s)
		}
		time.Sleep(3 * time.Second)
		st.is(t, activating, "start")
	})
}

func TestOnceRunsToItsEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		exit        command.Exit
		active, sub string
	}{
		"success":          {command.Exit{}, inactive, "dead"},
		"declared success": {command.Exit{Code: 75}, inactive, "dead"},
		"failure":          {command.Exit{Code: 30}, failed, failed},
		"signal":           {command.Exit{Code: -1, Signal: 9}, activating, autoRestart},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := play(t, Service{Once: true, Success: []int{11, 75}})
				st.must(t, verbStart)
				st.last().ends(tt.exit)
				st.is(t, tt.active, tt.sub)
				if tt.active == failed {
					st.must(t, verbReset)
					st.is(t, inactive, "dead")
				}
			})
		})
	}
}

func TestWhatRemainsHasStartedWhenItHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := play(t, Service{Once: true, Remains: true, Stop: []string{"/bin/stop"}})
		stopped := 0
		st.end = func(context.Context, Service) error { stopped++; return nil }
		st.must(t, verbStart)
		st.is(t, activating, "start")
		st.last().ends(command.Exit{Code: 1}) // the engine is not there yet
		st.is(t, activating, autoRestart)
		time.Sleep(longestWait)
		st.is(t, activating, "start")
		st.last().ends(command.Exit{})
		st.is(t, active, exited)
		st.must(t, verbStart) // it has started
		if n := len(st.all()); n != 2 || stopped != 0 {
			t.Errorf("%d starts, %d stops", n, stopped)
		}
		st.must(t, verbStop)
		st.is(t, inactive, "dead")
		st.must(t, verbStop)
		if stopped != 1 {
			t.Errorf("%d stops", stopped)
		}
	})
}

func TestWhatWaitsForAFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := play(t, Service{Once: true, When: "/file"})
		st.must(t, verbTrigger) // it was not started
		st.is(t, inactive, "dead")
		st.must(t, verbStart)
		st.is(t, active, awaits)
		for range 2 {
			st.must(t, verbTrigger)
			st.is(t, active, "running")
			st.last().ends(command.Exit{})
			st.is(t, active, awaits)
		}
		st.must(t, verbTrigger)
		st.last().ends(command.Exit{Code: 1})
		st.is(t, activating, autoRestart)
		time.Sleep(longestWait) // only then it is looked at again
		st.is(t, active, awaits)
		if n := len(st.all()); n != 3 {
			t.Errorf("%d starts", n)
		}
		st.must(t, verbStop)
		st.is(t, inactive, "dead")
	})
}

func TestStartThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := play(t, Service{})
		missing := errors.New("no such program")
		st.fail(missing)
		if err := st.do(t.Context(), verbStart); !errors.Is(err, missing) {
			t.Errorf("%v", err)
		}
		st.is(t, activating, autoRestart)
		if got := st.Status(); got.Last != "no such program" {
			t.Errorf("%+v", got)
		}
		st.fail(nil)
		time.Sleep(longestWait)
		st.is(t, active, "running")
	})
}

func TestWhatItNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		needed := filepath.Join(t.TempDir(), "needed")
		st := play(t, Service{Needs: needed})
		st.must(t, verbStart)
		st.is(t, inactive, "dead")
		if got := st.Status().Says; got != "waits for "+needed || len(st.all()) != 0 {
			t.Errorf("it says %q", got)
		}
		if err := os.WriteFile(needed, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		st.must(t, verbStart)
		st.is(t, active, "running")
	})
}

func TestUndefinedIsNotStartedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := play(t, Service{})
		st.must(t, verbStart)
		st.undefine()
		st.last().ends(command.Exit{Code: 1})
		st.is(t, inactive, "dead")
		if !st.gone() {
			t.Error("it is still defined")
		}
	})
}

func TestRestartOfWhatWaitsForAFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := play(t, Service{Once: true, When: "/file"})
		st.must(t, verbStart)
		st.must(t, verbTrigger)
		st.is(t, active, "running")
		st.must(t, verbRestart) // while it runs
		st.is(t, active, awaits)
		st.must(t, verbTrigger)
		if n := len(st.all()); n != 2 {
			t.Errorf("%d starts: it is run no more", n)
		}
	})
}

func TestStopWhoseProgramFailsCanBeAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := play(t, Service{Once: true, Remains: true, Stop: []string{"/bin/stop"}})
		broken := errors.New("the engine does not answer")
		st.end = func(context.Context, Service) error { return broken }
		st.must(t, verbStart)
		if err := st.do(t.Context(), verbStop); !errors.Is(err, broken) { // while its process runs, which ends
			t.Fatalf("%v", err)
		}
		st.is(t, failed, failed)
		again, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := st.do(again, verbStop); !errors.Is(err, broken) { // it is still to be done
			t.Errorf("the second stop: %v", err)
		}
		st.end = func(context.Context, Service) error { return nil }
		st.must(t, verbStop)
		st.is(t, inactive, "dead")
	})
}

func TestWhatCannotBeKilledIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := play(t, Service{Grace: 7})
		st.must(t, verbStart)
		st.last().once.Do(func() {}) // it waits for a disk, and ends by no signal
		limited, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		began := time.Now()
		if err := st.do(limited, verbStop); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %s", took)
		}
		st.last().exit <- command.Exit{Code: -1, Signal: 9} // at last
		st.is(t, inactive, "dead")
	})
}

func TestResetLeavesWhatIsStartedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := play(t, Service{})
		st.must(t, verbStart)
		st.last().ends(command.Exit{Code: 1})
		st.is(t, activating, autoRestart)
		st.must(t, verbReset)
		time.Sleep(longestWait)
		st.is(t, active, "running")
	})
}

func TestUndefinedWhileItWaitsIsNotStartedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := play(t, Service{})
		st.must(t, verbStart)
		st.last().ends(command.Exit{Code: 1})
		st.is(t, activating, autoRestart)
		st.undefine()
		time.Sleep(longestWait)
		st.is(t, inactive, "dead")
		if n := len(st.all()); n != 1 {
			t.Errorf("%d starts", n)
		}
	})
}

func TestWhoDoesNotHeedTheDogIsKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := play(t, Service{Notify: true, Watchdog: 30})
		st.must(t, verbStart)
		st.hear(notice{ready: true})
		a := st.last()
		a.frozen.Store(true) // stopped, or in its own handler of the signal
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if first, second := <-a.signals, <-a.signals; first != syscall.SIGABRT || second != syscall.SIGKILL {
			t.Errorf("%v, %v", first, second)
		}
		st.is(t, activating, autoRestart)
	})
}

func TestWatchdogOfWhatWasTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := Service{Name: "actor", Argv: []string{"/bin/actor"}, Log: "/var/log/actor.log", Notify: true, Watchdog: 30}
		k := newKeeper(s, true, func(Service) (process, error) { return nil, errors.New("not now") }, slog.New(slog.DiscardHandler))
		first := &actor{pid: 7, exit: make(chan command.Exit, 1), signals: make(chan syscall.Signal, 8)}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { k.run(ctx, first) })
		time.Sleep(31 * time.Second) // it hangs since before
		synctest.Wait()
		select {
		case got := <-first.signals:
			if got != syscall.SIGABRT {
				t.Errorf("it was sent %v", got)
			}
		default:
			t.Error("it hangs, and nobody sees it")
			first.ends(command.Exit{})
		}
		cancel()
		running.Wait()
	})
}
