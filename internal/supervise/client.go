package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/command"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

const (
	// maxOverview bounds what is read of an answer, in bytes.
	maxOverview = 1 << 20
	// quick bounds a question that changes nothing.
	quick = 5 * time.Second
	// settle is how long a service that does not say when it is ready must have run: one that cannot run ends within a second or two.
	settle = 3 * time.Second
	// pollEvery is how often a state is asked for while it is waited for, and the socket of one who starts.
	pollEvery = 100 * time.Millisecond
	// startLimit is how long a supervisor may take to answer.
	startLimit = 20 * time.Second
)

// Client asks a supervisor, in the words of package unit: services may be named as systemd's units are. Where none runs, it says
// of the services what their files say.
type Client struct {
	Socket string        // "" means Socket
	Folder string        // of the definitions
	Settle time.Duration // 0 means 3 s
}

// Overview returns what the supervisor says. SUPERVISOR_UNREACHABLE means that none runs.
func (c *Client) Overview(ctx context.Context) (Overview, error) {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	var o Overview
	body, err := c.call(ctx, http.MethodGet, overviewPath)
	if err == nil {
		err = json.Unmarshal(body, &o)
	}
	return o, err
}

// Answers reports whether a supervisor runs.
func (c *Client) Answers(ctx context.Context) bool {
	_, err := c.Overview(ctx)
	return err == nil
}

// Ensure sees to it that a supervisor runs, and returns whether it has started one: the program given, in a session of its own,
// which writes to log. With hold, that one starts no service by itself.
func (c *Client) Ensure(ctx context.Context, program, log string, hold bool) (started bool, err error) {
	if c.Answers(ctx) {
		return false, nil
	}
	out, err := openLog(log, true)
	if err != nil {
		return false, err
	}
	defer out.Close()
	argv := []string{program, "run", "--supervise"}
	if hold {
		argv = append(argv, "--hold")
	}
	pid, err := command.Detach(out, argv...)
	if err != nil {
		return false, fmt.Errorf("cannot start the supervisor: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !c.Answers(ctx) {
		if !unit.Alive("/", pid) && !c.Answers(ctx) { // the second look: another one may just have been quicker
			return true, reason.Newf(reason.SupervisorUnreachable, "it ended at once; %s says why", log)
		}
		select {
		case <-ctx.Done():
			return true, reason.New(reason.SupervisorUnreachable, "it was started, and does not answer; "+log+" says what it does", ctx.Err())
		case <-tick.C:
		}
	}
	return true, nil
}

// Reload has the definitions read anew. Where no supervisor runs, there is nothing to do.
func (c *Client) Reload(ctx context.Context) error {
	_, err := c.call(ctx, http.MethodPost, reloadPath)
	if reason.Is(err, reason.SupervisorUnreachable) {
		return nil
	}
	return err
}

// Finish asks the supervisor to end when nothing runs any more, and returns what it said; one that is the first process of a
// container stays. Where none runs, that is so already.
func (c *Client) Finish(ctx context.Context) (Overview, error) {
	var o Overview
	body, err := c.call(ctx, http.MethodPost, finishPath)
	if reason.Is(err, reason.SupervisorUnreachable) {
		return o, nil
	}
	if err == nil {
		err = json.Unmarshal(body, &o)
	}
	return o, err
}

// Enable makes the service start with the supervisor.
func (c *Client) Enable(ctx context.Context, name string) error { return c.tell(ctx, name, verbEnable) }

// Disable undoes Enable. It is no error if the service is not there.
func (c *Client) Disable(ctx context.Context, name string) error {
	return c.lax(ctx, name, verbDisable)
}

// Start starts the service if it does not run.
func (c *Client) Start(ctx context.Context, name string) error { return c.tell(ctx, name, verbStart) }

// RestartNoWait restarts the service, or starts it. It waits for the end of the old process, not for the new one.
func (c *Client) RestartNoWait(ctx context.Context, name string) error {
	return c.tell(ctx, name, verbRestart)
}

// Stop stops the service and waits for its end. It is no error if the service is not there.
func (c *Client) Stop(ctx context.Context, name string) error { return c.lax(ctx, name, verbStop) }

// StopAll stops the service and all that it has started.
func (c *Client) StopAll(ctx context.Context, name string) error {
	return c.lax(ctx, name, verbStopAll)
}

// ResetFailed forgets the service's failure.
func (c *Client) ResetFailed(ctx context.Context, name string) error {
	return c.lax(ctx, name, verbReset)
}

func (c *Client) tell(ctx context.Context, name, verb string) error {
	if _, err := c.call(ctx, http.MethodPost, "/v1/services/"+Name(name)+"/"+verb); err != nil {
		return fmt.Errorf("cannot %s %s: %w", verb, name, err)
	}
	return nil
}

// lax is tell of a service that need not be there.
func (c *Client) lax(ctx context.Context, name, verb string) error {
	err := c.tell(ctx, name, verb)
	if e := (*refused)(nil); errors.As(err, &e) && e.code == http.StatusNotFound {
		return nil
	}
	return err
}

// State returns the state of a service. One that is not there has Load not-found and Active inactive.
func (c *Client) State(ctx context.Context, name string) (unit.State, error) {
	file := File(c.Folder, Name(name))
	o, err := c.Overview(ctx)
	if reason.Is(err, reason.SupervisorUnreachable) {
		return c.onDisk(file, Name(name))
	}
	if err != nil {
		return unit.State{}, fmt.Errorf("cannot ask for %s: %w", name, err)
	}
	at := slices.IndexFunc(o.Services, func(s Status) bool { return s.Name == Name(name) })
	if at < 0 {
		return unit.State{Load: "not-found", Active: inactive, Sub: "dead", Result: "success"}, nil
	}
	return o.Services[at].State(file), nil
}

// onDisk says what the files say.
func (c *Client) onDisk(file, name string) (unit.State, error) {
	s := unit.State{Load: "not-found", Active: inactive, Sub: "dead", Result: "success"}
	_, err := os.Lstat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("cannot ask for %s: %w", name, err)
	}
	s.Load, s.File, s.Fragment = "loaded", "disabled", file
	if Enabled(c.Folder, name) {
		s.File = "enabled"
	}
	return s, nil
}

// WaitActive waits until the service, whose start has been asked for, is ready, or has run for a while where it does not say so.
// It fails as soon as the service has ended, and tells how.
func (c *Client) WaitActive(ctx context.Context, name string) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var main uint32
	var since time.Time
	for {
		s, err := c.State(ctx, name)
		if err != nil {
			return err
		}
		if s.Active == failed || s.Active == inactive || s.Sub == autoRestart || s.Restarts > 0 {
			return fmt.Errorf("%s does not start: it is %s (%s), started again %d times, exit code %d", name, s.Active, s.Sub, s.Restarts, s.ExitCode)
		}
		if s.Active != active || s.MainPID != main {
			main, since = s.MainPID, time.Now()
		}
		if s.Active == active && time.Since(since) >= c.settle(name) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is still %s (%s): %w", name, s.Active, s.Sub, ctx.Err())
		case <-tick.C:
		}
	}
}

// settle is how long a service must have run to count as started.
func (c *Client) settle(name string) time.Duration {
	if d, err := read(File(c.Folder, Name(name))); err == nil && (d.Notify || d.Remains || d.When != "") {
		return 0 // it has said so, has ended, or only waits
	}
	if c.Settle != 0 {
		return c.Settle
	}
	return settle
}

// refused is what the supervisor says of what it does not do.
type refused struct {
	code int
	text string
}

func (r *refused) Error() string { return r.text }

func (c *Client) call(ctx context.Context, method, path string) ([]byte, error) {
	socket := c.Socket
	if socket == "" {
		socket = Socket
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := (&http.Client{Transport: transport}).Do(r)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, reason.Newf(reason.SupervisorUnreachable, "nobody answers on %s", socket)
	case errors.Is(err, fs.ErrPermission):
		return nil, reason.Newf(reason.HostNotRoot, "the supervisor answers to root only (%s)", filepath.Base(socket))
	case err != nil:
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxOverview))
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return nil, &refused{response.StatusCode, strings.TrimSpace(string(body[:min(len(body), 1<<10)]))}
	}
	return body, nil
}
