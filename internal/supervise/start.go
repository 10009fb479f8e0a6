package supervise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/command"
)

// moduleLimit bounds how long modprobe may take.
const moduleLimit = 20 * time.Second

// bring starts the process of a service.
func (s *Supervisor) bring(ctx context.Context, d Service, k *keeper) (process, error) {
	for _, dir := range d.Folders {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("cannot start %s: %w", d.Name, err)
		}
	}
	for _, module := range d.Modules {
		s.loadModule(module)
	}
	if d.Shared {
		if err := shareRoot(); err != nil {
			s.log.Warn("the root is no shared mount", "err", err)
		}
	}
	if !d.Alone { // of a run that nobody has waited for
		if err := k.kill(ctx); err != nil {
			return nil, err
		}
	}
	log, err := openLog(d.Log, d.Private)
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", d.Name, err)
	}
	defer log.Close()
	var conn *net.UnixConn
	if d.Notify {
		if conn, err = listen(s.notify(d.Name)); err != nil {
			return nil, err
		}
	}
	env, err := d.environment(s.notify(d.Name))
	if err == nil {
		var started process
		if started, err = s.launch(d, env, log); err == nil {
			return s.heard(started, conn, k), nil
		}
	}
	if conn != nil {
		err = errors.Join(err, conn.Close())
	}
	return nil, fmt.Errorf("cannot start %s: %w", d.Name, err)
}

// launch starts the process, and records it for another supervisor.
func (s *Supervisor) launch(d Service, env []string, log *os.File) (process, error) {
	umask := 0o022
	if d.Private {
		umask = 0o077
	}
	c, err := s.children.Start(command.Spec{Argv: d.Argv, Env: env, Umask: umask, Output: log})
	if err != nil {
		return nil, err
	}
	r, err := identify("", c.PID)
	if err == nil {
		err = r.write(s.record(d.Name))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // it may have ended already
		s.log.Warn("another supervisor would not find it", "service", d.Name, "err", err)
	}
	return child{c}, nil
}

// halt runs the program that stops a service which remains.
func (s *Supervisor) halt(ctx context.Context, d Service) error {
	log, err := openLog(d.Log, d.Private)
	if err != nil {
		return err
	}
	defer log.Close()
	env, err := d.environment("")
	if err != nil {
		return err
	}
	c, err := s.children.Start(command.Spec{Argv: d.Stop, Env: env, Umask: 0o077, Output: log})
	if err != nil {
		return err
	}
	ended := make(chan command.Exit, 1)
	go func() { ended <- c.Wait() }() // it is killed below
	grace := time.NewTimer(d.grace())
	defer grace.Stop()
	select {
	case exit := <-ended:
		if exit != (command.Exit{}) {
			return fmt.Errorf("cannot stop %s: %v has failed: %s", d.Name, d.Stop, exit)
		}
		return nil
	case <-grace.C:
		err = fmt.Errorf("cannot stop %s: %v takes longer than %s", d.Name, d.Stop, d.grace())
	case <-ctx.Done():
		err = ctx.Err()
	}
	err = errors.Join(err, c.Signal(syscall.SIGKILL))
	<-ended
	return err
}

// loadModule loads a kernel module, if it can be: a kernel may have it built in, or a container not be allowed to.
func (s *Supervisor) loadModule(name string) {
	for _, program := range []string{"/sbin/modprobe", "/usr/sbin/modprobe"} {
		if _, err := os.Stat(program); err != nil {
			continue
		}
		c, err := s.children.Start(command.Spec{Argv: []string{program, "-q", name}, Env: []string{path}, Umask: 0o022})
		if err != nil {
			return
		}
		limit := time.AfterFunc(moduleLimit, func() { _ = c.Signal(syscall.SIGKILL) })
		c.Wait()
		limit.Stop()
		return
	}
}

// hearing is a process whose words are heard until it ends.
type hearing struct {
	process
	conn  *net.UnixConn
	ended chan struct{}
}

func (s *Supervisor) heard(p process, conn *net.UnixConn, k *keeper) process {
	if conn == nil {
		return p
	}
	h := hearing{p, conn, make(chan struct{})}
	go func() { // until Wait closes the socket
		defer close(h.ended)
		listenTo(conn, k.hear)
	}()
	return h
}

// Wait waits for its end, and then hears no more.
func (h hearing) Wait() command.Exit {
	exit := h.process.Wait()
	_ = h.conn.Close()
	<-h.ended
	return exit
}

// hearAgain makes the socket of a process that was taken over.
func (s *Supervisor) hearAgain(d Service, p process, k *keeper) process {
	if !d.Notify {
		return p
	}
	conn, err := listen(s.notify(d.Name))
	if err != nil {
		s.log.Warn("it is not heard", "service", d.Name, "err", err)
		return p
	}
	return s.heard(p, conn, k)
}

// reap waits for the orphans that have ended.
func (s *Supervisor) reap(ctx context.Context) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	defer signal.Stop(ended)
	tick := time.NewTicker(reapEvery)
	defer tick.Stop()
	for {
		s.children.Reap()
		select {
		case <-ctx.Done():
			return
		case <-ended:
		case <-tick.C:
		}
	}
}

// endAll ends all that is left when the services have ended, as an init does: a container goes down.
func (s *Supervisor) endAll() {
	if os.Getpid() != 1 {
		return
	}
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGTERM, lastGrace}, {syscall.SIGKILL, time.Second}} {
		if err := syscall.Kill(-1, step.signal); err != nil { // nobody is left
			return
		}
		for until := time.Now().Add(step.wait); time.Now().Before(until); time.Sleep(lookEvery / 4) {
			s.children.Reap()
			if errors.Is(syscall.Kill(-1, 0), syscall.ESRCH) {
				return
			}
		}
	}
}
