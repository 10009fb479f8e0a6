package supervise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipeopshq/pipeops-agent/internal/command"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const (
	// RunDir is the agent's folder in /run.
	RunDir = "/run/pipeops-agent"
	// Socket is where a supervisor answers.
	Socket = RunDir + "/supervisor.sock"

	// rotateEvery is how often the logs are looked at.
	rotateEvery = time.Second
	// reapEvery is how often orphans are looked for without a signal: two that end at once may give one.
	reapEvery = 30 * time.Second
	// lastGrace is how long a first process waits for what is left when all services have ended.
	lastGrace = 10 * time.Second
)

// Supervisor runs the services of a machine. Only one may.
type Supervisor struct {
	Folder  string // of the definitions
	Run     string // its folder in /run; "" means RunDir
	Version string
	Stays   bool    // it is the first process of a container, and ends only when it is told to
	Hold    bool    // it takes over what runs, and starts nothing by itself
	Errand  *Errand // nil: none
	Log     *slog.Logger

	// Begun is told when it answers on its socket, and the enabled services have been started; nil: nobody is.
	Begun func()

	started  time.Time
	children command.Children
	done     chan struct{} // closed when nobody waits any more for processes of an earlier one
	finish   chan struct{} // closed when it shall end as soon as nothing runs

	mu       sync.Mutex
	keepers  []*keeper // in the order of their starts
	running  sync.WaitGroup
	stopping bool
	over     bool // nothing is left to do: the machine is as if it had never been
	once     sync.Once
	log      *slog.Logger
}

// Serve owns the services until ctx ends, or [Client.Finish] was asked for and nothing runs; then it stops them, the last that
// was started first. BUSY means that another supervisor does so. What an earlier one has left is taken over.
func (s *Supervisor) Serve(ctx context.Context) (err error) {
	s.log = s.Log
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.Run = strings.TrimSuffix(s.Run, "/")
	if s.Run == "" {
		s.Run = RunDir
	}
	s.started, s.done, s.finish = time.Now(), make(chan struct{}), make(chan struct{})
	unlock, err := s.prepare()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	var own sync.WaitGroup // the goroutines that are no keepers
	defer own.Wait()
	defer end()
	server, err := s.answer(life, &own)
	if err != nil {
		return err
	}
	own.Go(func() { s.reap(life) })
	own.Go(func() { s.rotate(life) })
	own.Go(func() { s.trigger(life) })
	if err := s.reload(life); err != nil {
		s.log.Error("some services are not started", "err", err)
	}
	s.stray(life)
	if !s.Hold {
		s.startAll(life)
	}
	if s.Begun != nil {
		s.Begun()
	}
	s.log.Info("supervises", "services", len(s.all()), "socket", s.socket())
	err = s.serve(ctx, s.run(ctx, &own), s.finished(life, &own), server)
	s.stopAll(life)
	close(s.done)
	if s.Stays {
		s.endAll()
	}
	end()
	s.running.Wait()
	return err
}

// serve waits for what ends the supervisor.
func (s *Supervisor) serve(ctx context.Context, errand <-chan error, finished <-chan struct{}, server <-chan error) error {
	for {
		select {
		case <-ctx.Done():
			if errand != nil { // it is on its way down, too
				if err := <-errand; err != nil {
					s.log.Info("ended", "errand", err)
				}
			}
			return nil
		case <-finished:
			s.over = true
			return nil
		case err := <-server:
			return err
		case err := <-errand:
			if err != nil {
				return err
			}
			errand = nil
		}
	}
}

func (s *Supervisor) socket() string { return filepath.Join(s.Run, filepath.Base(Socket)) }
func (s *Supervisor) record(name string) string {
	return filepath.Join(s.Run, "services", name+".json")
}
func (s *Supervisor) notify(name string) string {
	return filepath.Join(s.Run, "services", name+".notify")
}

// prepare makes the folders, and takes the lock.
func (s *Supervisor) prepare() (unlock func() error, err error) {
	syscall.Umask(0o022) // all files get a mode of their own; who has started us in the background gave us a narrower one
	if err := os.MkdirAll(s.Run, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the folder of the supervisor: %w", err)
	}
	if err := os.Mkdir(filepath.Join(s.Run, "services"), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("cannot make the folder of the supervisor: %w", err)
	}
	path := filepath.Join(s.Run, "supervisor.lock")
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the lock of the supervisor: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		err = errors.Join(err, lock.Close())
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, reason.Newf(reason.Busy, "another supervisor runs the services of this machine (%s is locked)", path).
				WithFix("nothing needs to be done; pipeops-agent status shows what it runs")
		}
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	takeOrphans(s.log)
	raiseFiles(s.log)
	return func() error {
		if s.over {
			_ = os.Remove(path)
			_ = os.RemoveAll(filepath.Join(s.Run, "services"))
			_ = os.Remove(s.Run) // if there is nothing of somebody else's in it
		}
		return lock.Close()
	}, nil
}

// raiseFiles lets the services have as many open files as k3s has under systemd, or as many as may be. They inherit it.
func raiseFiles(log *slog.Logger) {
	const wanted = 1 << 20
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur >= wanted {
		return
	}
	higher := syscall.Rlimit{Cur: wanted, Max: max(wanted, limit.Max)}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &higher) == nil {
		return
	}
	higher = syscall.Rlimit{Cur: min(wanted, limit.Max), Max: limit.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &higher); err != nil {
		log.Warn("services may open few files only", "err", err, "most", limit.Cur)
	}
}

func (s *Supervisor) all() []*keeper {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.keepers)
}

func (s *Supervisor) keeper(name string) *keeper {
	for _, k := range s.all() {
		if k.definition().Name == name {
			return k
		}
	}
	return nil
}

// reload reads the definitions; life is that of the keepers, which outlives a call. A service that is no longer defined is forgotten when its process has ended.
func (s *Supervisor) reload(life context.Context) error {
	defined, err := load(s.Folder)
	s.mu.Lock()
	defer s.mu.Unlock()
	var kept []*keeper
	for _, service := range defined {
		enabled := Enabled(s.Folder, service.Name)
		at := slices.IndexFunc(s.keepers, func(k *keeper) bool { return k.definition().Name == service.Name })
		if at >= 0 {
			k := s.keepers[at]
			k.redefine(service)
			k.enable(enabled)
			kept = append(kept, k)
			continue
		}
		kept = append(kept, s.keep(life, service, enabled))
	}
	for _, k := range s.keepers {
		name := k.definition().Name
		if slices.Contains(kept, k) {
			continue
		}
		if _, statErr := os.Lstat(File(s.Folder, name)); statErr == nil { // it is there, and cannot be read
			kept = append(kept, k)
			continue
		}
		k.undefine()
		if k.Status().lives() {
			kept = append(kept, k)
		}
	}
	s.keepers = kept
	return err
}

// keep begins to look after a service, and takes over its process if there is one.
func (s *Supervisor) keep(life context.Context, service Service, enabled bool) *keeper {
	name := service.Name
	k := newKeeper(service, enabled, nil, s.log)
	k.start = func(d Service) (process, error) { return s.bring(life, d, k) }
	k.end = s.halt
	k.forget = func() { _ = os.Remove(s.record(name)) }
	k.kill = func(ctx context.Context) error { return killLeftovers(ctx, "", name) }
	var first process
	if r, ok := readRecord("", s.record(name), name); ok {
		p, err := adopt(r, s.done)
		if err != nil {
			s.log.Warn("not taken over", "service", name, "err", err)
		} else {
			first = s.hearAgain(service, p, k)
		}
	}
	s.running.Go(func() { k.run(life, first) })
	return k
}

// startAll starts what starts with the machine.
func (s *Supervisor) startAll(ctx context.Context) {
	for _, k := range s.all() {
		if !k.Status().Enabled {
			continue
		}
		if err := k.do(ctx, verbStart); err != nil {
			s.log.Error("not started", "service", k.definition().Name, "err", err)
		}
	}
}

// stopAll stops all, the last that was started first.
func (s *Supervisor) stopAll(ctx context.Context) {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	for _, k := range slices.Backward(s.all()) {
		if err := k.do(ctx, verbStop); err != nil {
			s.log.Error("not stopped", "service", k.definition().Name, "err", err)
		}
	}
}

// stray ends processes of services that are not defined any more. They are known by what was recorded of them.
func (s *Supervisor) stray(ctx context.Context) {
	records, err := filepath.Glob(s.record("*"))
	if err != nil {
		return
	}
	for _, path := range records {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		if s.keeper(name) != nil {
			continue
		}
		if r, ok := readRecord("", path, name); ok {
			s.log.Warn("its service is not defined any more, and it is ended", "service", name, "pid", r.PID)
			s.endStray(ctx, r)
		}
		_ = os.Remove(path)
	}
}

func (s *Supervisor) endStray(ctx context.Context, r record) {
	p, err := adopt(r, s.done)
	if err != nil {
		return // it has ended meanwhile
	}
	k := newKeeper(Service{Name: "stray"}, false, nil, s.log)
	ctx, cancel := context.WithTimeout(ctx, 2*defaultGrace)
	defer cancel()
	if _, err := k.stop(ctx, k.watch(p, Service{}), false); err != nil {
		s.log.Error("not ended", "pid", r.PID, "err", err)
	}
}

// rotate keeps the logs short.
func (s *Supervisor) rotate(ctx context.Context) {
	tick := time.NewTicker(rotateEvery)
	defer tick.Stop()
	told := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, k := range s.all() {
			if err := rotate(k.definition().Log, maxLog); err != nil && !told {
				s.log.Error("a log grows", "err", err)
				told = true // once: it would be said every second
			}
		}
	}
}

// trigger runs the services whose file is there.
func (s *Supervisor) trigger(ctx context.Context) {
	tick := time.NewTicker(rotateEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, k := range s.all() {
			file := k.definition().When
			if file == "" || k.Status().Sub != awaits {
				continue
			}
			if _, err := os.Lstat(file); err != nil {
				continue
			}
			if err := k.do(ctx, verbTrigger); err != nil {
				s.log.Warn("not started", "service", k.definition().Name, "err", err)
			}
		}
	}
}

// finished returns a channel that is closed when nothing runs, once that was asked for.
func (s *Supervisor) finished(ctx context.Context, own *sync.WaitGroup) <-chan struct{} {
	idle := make(chan struct{})
	own.Go(func() {
		select {
		case <-ctx.Done():
			return
		case <-s.finish:
		}
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for slices.ContainsFunc(s.all(), func(k *keeper) bool { return k.Status().PID != 0 }) {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
		close(idle)
	})
	return idle
}

// overview is what it says of itself.
func (s *Supervisor) overview() Overview {
	o := Overview{PID: os.Getpid(), Version: s.Version, Started: s.started, Stays: s.Stays, Services: []Status{}}
	for _, k := range s.all() {
		if status := k.Status(); status.PID != 0 || !k.gone() {
			o.Services = append(o.Services, status)
		}
	}
	s.mu.Lock()
	o.Stopping = s.stopping
	s.mu.Unlock()
	return o
}
