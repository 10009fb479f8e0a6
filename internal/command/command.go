// Package command is the one door to other programs: nothing else starts a process. A command has a time limit, its
// output is bounded, and its error says what was run, how it ended and what it said last.
package command

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

const (
	// maxOutput bounds the standard output that is kept, in bytes: the longest answers that we read are a few pages.
	maxOutput = 1 << 20
	// maxTail bounds the end of the standard error that an [Error] carries, in bytes: about ten lines.
	maxTail = 1 << 10
	// killDelay is how long after its time limit a program's pipes are waited for: a child may hold them open.
	killDelay = 2 * time.Second
	// searchPath is where programs are looked for.
	searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// Error tells of a command that did not end with 0.
type Error struct {
	Argv   []string
	Exit   int    // -1 when it never started or was killed
	Stderr string // the end of its standard error, at most 1 KiB, without colours
	Err    error
}

// Error gives the command, its end and its last words in one line.
func (e *Error) Error() string {
	s := fmt.Sprintf("cannot run %s: %v", strings.Join(e.Argv, " "), e.Err)
	if e.Stderr != "" {
		s += ": " + strings.ReplaceAll(e.Stderr, "\n", "; ")
	}
	return s
}

// Unwrap returns the cause: the context's, os/exec's, or that of the operating system.
func (e *Error) Unwrap() error { return e.Err }

// Run runs argv to its end and returns its standard output, at most 1 MiB of it. The program is killed when ctx ends or
// the limit, which must be positive, has passed. It gets a clean environment of PATH and LC_ALL=C and no input.
// Arguments are seen by every user of the machine: no secret may be among them.
func Run(ctx context.Context, limit time.Duration, argv ...string) ([]byte, error) {
	if limit <= 0 || len(argv) == 0 {
		return nil, &Error{Argv: argv, Exit: -1, Err: errors.New("no time limit or no command")}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=" + searchPath, "LC_ALL=C"}
	cmd.WaitDelay = killDelay
	out, tail := &head{max: maxOutput}, &end{max: maxTail}
	cmd.Stdout, cmd.Stderr = out, tail
	err := cmd.Run()
	if err == nil {
		return out.buf, nil
	}
	e := &Error{Argv: argv, Exit: -1, Stderr: strings.TrimSpace(string(plain(tail.buf))), Err: err}
	if ctx.Err() != nil {
		e.Err = ctx.Err()
	} else if x := (*exec.ExitError)(nil); errors.As(err, &x) {
		e.Exit = x.ExitCode()
	}
	return out.buf, e
}

// head keeps the first max bytes and swallows the rest, so that the program does not stop on a full pipe.
type head struct {
	buf []byte
	max int
}

func (h *head) Write(p []byte) (int, error) {
	h.buf = append(h.buf, p[:min(len(p), h.max-len(h.buf))]...)
	return len(p), nil
}

// end keeps the last max bytes.
type end struct {
	buf []byte
	max int
}

func (e *end) Write(p []byte) (int, error) {
	e.buf = append(e.buf, p...)
	if over := len(e.buf) - e.max; over > 0 {
		e.buf = append(e.buf[:0], e.buf[over:]...)
	}
	return len(p), nil
}
