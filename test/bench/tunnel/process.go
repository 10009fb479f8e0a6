package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/test/bench/tunnel/machine"
)

// process is this program once more, in a role.
type process struct {
	name   string
	cmd    *exec.Cmd
	input  io.Closer // while it is open the process lives
	output *tail
	ended  chan struct{}
	cause  error // once ended
}

// start starts a process, in a network namespace unless its name is empty. It must be stopped.
func start(r role, namespace string, output io.Writer) (*process, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("cannot write the role: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("cannot find this program: %w", err)
	}
	args := []string{self, "-role", string(text)}
	if namespace != "" { // ip becomes the program, so the number of the process stays
		args = append([]string{"ip", "netns", "exec", namespace}, args...)
	}
	p := &process{name: r.Contender + "'s " + r.End, output: new(tail), ended: make(chan struct{})}
	p.cmd = exec.Command(args[0], args[1:]...)        //nolint:noctx // it is stopped by stop, which waits for it
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // no proxies, no settings of Go's runtime
	p.cmd.Stderr = p.output
	p.cmd.Stdout = p.output
	if output != nil {
		p.cmd.Stdout = output
	}
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", p.name, err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", p.name, err)
	}
	go func() {
		p.cause = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// stop ends the process and waits until it has.
func (p *process) stop() {
	p.input.Close() // which ends it, with its profile written
	select {
	case <-p.ended:
	case <-time.After(stopWithin):
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.ended
	}
}

const stopWithin = 3 * time.Second

// died is why the process ended by itself; nil while it runs.
func (p *process) died() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended: %w\n%s", p.name, errors.Join(p.cause), p.output)
	default:
		return nil
	}
}

// cpu is the processor time that the process has used.
func (p *process) cpu() (time.Duration, error) { return machine.CPU(p.cmd.Process.Pid) }

// tail keeps the end of what a process prints.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-tailSize):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.text) == 0 {
		return "(it printed nothing)"
	}
	return strings.TrimSpace(string(t.text))
}

// up waits until an echo comes back through the processes.
func up(ctx context.Context, public string, processes []*process) error {
	ctx, cancel := context.WithTimeout(ctx, upWithin)
	defer cancel()
	for {
		_, err := echoes(ctx, public, 0, 1)
		if err == nil {
			return nil
		}
		if died := died(processes); died != nil {
			return died
		}
		select {
		case <-ctx.Done():
			for _, p := range processes {
				err = errors.Join(err, fmt.Errorf("%s printed: %s", p.name, p.output))
			}
			return fmt.Errorf("it did not come up within %s: %w", upWithin, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
