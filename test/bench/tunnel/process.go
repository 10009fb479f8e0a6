package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
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
	p.cmd = exec.Command(args[0], args[1:]...) //nolint:noctx // it is stopped by stop, which waits for it
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
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
	p.input.Close()
}

// died is why the process ended by itself; nil while it runs.
func (p *process) died() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended: %w\n%s", p.name, errors.Join(p.cause), p.output)
	default:
		return nil
	}
}

// cpu is the processor time that the process has used, in the kernel, too. Its unit is 10 ms.
func (p *process) cpu() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/stat")
	if err != nil {
		return 0, fmt.Errorf("cannot read the processor time of %s: %w", p.name, err)
	}
	return parseStat(stat)
}

const tick = 10 * time.Millisecond // USER_HZ is 100 on every architecture of ours, proc(5)

// parseStat takes utime and stime from /proc/PID/stat. The second field is a name in brackets, which may hold anything.
func parseStat(stat []byte) (time.Duration, error) {
	_, rest, found := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 13 {
		return 0, fmt.Errorf("cannot parse %q", stat)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
}

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
		for _, p := range processes {
			if died := p.died(); died != nil {
				return died
			}
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
