package supervise

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/command"
)

// errandGrace is how long an errand may take to end: it may just be running a package manager.
const errandGrace = 300 * time.Second

// Errand is a program that a supervisor runs once, when it has started its services: the install that a container was started
// for. It says what it does where the supervisor does.
type Errand struct {
	Argv []string
	Env  []string // all of it
}

// ErrandError is the end of an errand that has failed, and with it that of the supervisor.
type ErrandError struct {
	Argv []string
	Exit command.Exit
}

func (e *ErrandError) Error() string { return fmt.Sprintf("%v has failed: %s", e.Argv, e.Exit) }

// run starts the errand. The channel gets its end; when ctx ends before, the errand is asked to end, and waited for.
func (s *Supervisor) run(ctx context.Context, own *sync.WaitGroup) <-chan error {
	if s.Errand == nil {
		return nil
	}
	ended := make(chan error, 1)
	c, err := s.children.Start(command.Spec{Argv: s.Errand.Argv, Env: s.Errand.Env, Umask: 0o022, Output: os.Stdout})
	if err != nil {
		ended <- err
		return ended
	}
	over := make(chan struct{})
	own.Go(func() {
		defer close(over)
		if exit := c.Wait(); exit != (command.Exit{}) {
			ended <- &ErrandError{s.Errand.Argv, exit}
			return
		}
		ended <- nil
	})
	own.Go(func() {
		select {
		case <-over:
			return
		case <-ctx.Done():
		}
		if err := c.Signal(syscall.SIGTERM); err != nil {
			s.log.Warn("the errand does not end", "err", err)
		}
		grace := time.NewTimer(errandGrace)
		defer grace.Stop()
		select {
		case <-over:
		case <-grace.C:
			if err := c.Signal(syscall.SIGKILL); err != nil {
				s.log.Warn("the errand does not end", "err", err)
			}
		}
	})
	return ended
}
