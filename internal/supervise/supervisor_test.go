package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

// TestMain is a supervisor of its own where a test has started it as one, to kill it.
func TestMain(m *testing.M) {
	if dir := os.Getenv("SUPERVISE_TEST_DIR"); dir != "" {
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		if err := (&Supervisor{Folder: filepath.Join(dir, "services"), Run: filepath.Join(dir, "run"), Log: log}).Serve(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(reason.Exit(err))
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// ground is a folder with services, and a client of who supervises them.
type ground struct {
	dir    string
	client *Client
}

func newGround(t *testing.T) *ground {
	t.Helper()
	dir, err := os.MkdirTemp("", "supervise") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Mkdir(filepath.Join(dir, "services"), 0o700); err != nil {
		t.Fatal(err)
	}
	return &ground{dir, &Client{Socket: filepath.Join(dir, "run", "supervisor.sock"), Folder: filepath.Join(dir, "services"), Settle: 50 * time.Millisecond}}
}

// define writes a service that runs a script of shell. Its name is that of no other test's.
func (g *ground) define(t *testing.T, s Service, script string, enabled bool) {
	t.Helper()
	s.Argv, s.Log = []string{"/bin/sh", "-c", script}, filepath.Join(g.dir, s.Name+".log")
	content, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(File(g.client.Folder, s.Name), content, 0o600); err != nil {
		t.Fatal(err)
	}
	if enabled {
		if err := os.WriteFile(mark(g.client.Folder, s.Name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// serve runs a supervisor in this process; the function returned ends it.
func (g *ground) serve(t *testing.T, change func(*Supervisor)) (end func() error) {
	t.Helper()
	begun := make(chan struct{})
	s := &Supervisor{Folder: g.client.Folder, Run: filepath.Join(g.dir, "run"), Begun: func() { close(begun) }}
	if change != nil {
		change(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	select {
	case <-begun:
	case err := <-done:
		cancel()
		t.Fatalf("it ended: %v", err)
	}
	ended := false
	end = func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	})
	return end
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func (g *ground) state(t *testing.T, name string) unit.State {
	t.Helper()
	s, err := g.client.State(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (g *ground) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

func TestServicesAreStartedStoppedAndStartedAnew(t *testing.T) {
	g := newGround(t)
	order := filepath.Join(g.dir, "order")
	script := func(name string) string {
		return fmt.Sprintf("trap 'echo stop %[1]s >>%[2]s; exit 0' TERM; echo start %[1]s >>%[2]s; while :; do sleep 0.01; done", name, order)
	}
	g.define(t, Service{Name: "a-second", After: []string{"b-first"}}, script("second"), true)
	g.define(t, Service{Name: "b-first"}, script("first"), true)
	g.define(t, Service{Name: "c-idle"}, script("idle"), false)
	end := g.serve(t, nil)
	for _, name := range []string{"a-second.service", "b-first"} {
		if err := g.client.WaitActive(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if s := g.state(t, "c-idle"); s.Active != "inactive" || s.Enabled() || s.Load != "loaded" {
		t.Errorf("idle: %+v", s)
	}
	if s := g.state(t, "none"); s.Load != "not-found" {
		t.Errorf("none: %+v", s)
	}
	eventually(t, "both say so", func() bool { return strings.Count(g.read(t, "order"), "start") == 2 })

	before := g.state(t, "b-first").MainPID
	if err := syscall.Kill(int(before), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is back", func() bool {
		s := g.state(t, "b-first")
		return s.Active == "active" && s.MainPID != before && s.Restarts == 1
	})
	eventually(t, "it traps again", func() bool { return strings.Count(g.read(t, "order"), "start first") == 2 })
	if err := g.client.RestartNoWait(t.Context(), "b-first"); err != nil {
		t.Fatal(err)
	}
	if s := g.state(t, "b-first"); s.Restarts != 0 || s.Active != "active" {
		t.Errorf("after a restart by hand: %+v", s)
	}
	eventually(t, "it traps", func() bool { return strings.Count(g.read(t, "order"), "start first") == 3 })
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if said := g.read(t, "order"); !strings.HasSuffix(said, "stop second\nstop first\n") {
		t.Errorf("the order was\n%s", said)
	}
	if st, err := os.Stat(filepath.Join(g.dir, "b-first.log")); err != nil || st.Mode() != 0o640 {
		t.Errorf("log: %v, %v", st, err)
	}
}

func TestSecondSupervisorIsRefused(t *testing.T) {
	g := newGround(t)
	g.serve(t, nil)
	err := (&Supervisor{Folder: g.client.Folder, Run: filepath.Join(g.dir, "run")}).Serve(t.Context())
	if !reason.Is(err, reason.Busy) {
		t.Errorf("%v", err)
	}
	if !g.client.Answers(t.Context()) {
		t.Error("the first one does not answer any more")
	}
}

func TestEnableReloadAndFinish(t *testing.T) {
	g := newGround(t)
	end := g.serve(t, nil)
	g.define(t, Service{Name: "late"}, "exec sleep 1000", false)
	if err := g.client.Enable(t.Context(), "late"); err == nil {
		t.Error("it is known before a reload")
	}
	if err := g.client.Disable(t.Context(), "late"); err != nil {
		t.Errorf("disabled before it is there: %v", err)
	}
	for _, do := range []func() error{
		func() error { return g.client.Reload(t.Context()) },
		func() error { return g.client.Enable(t.Context(), "late.service") },
		func() error { return g.client.Start(t.Context(), "late") },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	pid := g.state(t, "late").MainPID
	if s := g.state(t, "late"); !s.Enabled() || pid == 0 {
		t.Errorf("%+v", s)
	}
	if err := g.client.Start(t.Context(), "late"); err != nil || g.state(t, "late").MainPID != pid {
		t.Errorf("a second start: %v", err)
	}
	if err := os.Remove(File(g.client.Folder, "late")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(g.client.Disable(t.Context(), "late"), g.client.Reload(t.Context())); err != nil {
		t.Fatal(err)
	}
	o, err := g.client.Finish(t.Context())
	if err != nil || o.Stays || len(o.Services) != 1 || o.Services[0].PID != int(pid) {
		t.Fatalf("what is not defined any more runs on until it is stopped: %+v, %v", o, err)
	}
	if err := g.client.StopAll(t.Context(), "late"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it ends when nothing runs", func() bool { return !g.client.Answers(t.Context()) })
	if err := end(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(g.dir, "run")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its folder is there still: %v", err)
	}
}

func TestErrand(t *testing.T) {
	for name, tt := range map[string]struct {
		script string
		code   int // -1: the supervisor goes on
	}{
		"succeeds": {"echo \"$WHAT\" >%s", -1},
		"fails":    {"echo \"$WHAT\" >%s; exit 12", 12},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGround(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			out := filepath.Join(g.dir, "out")
			s := &Supervisor{Folder: g.client.Folder, Run: filepath.Join(g.dir, "run"), Errand: &Errand{
				Argv: []string{"/bin/sh", "-c", fmt.Sprintf(tt.script, out)}, Env: []string{"WHAT=install"}}}
			if tt.code < 0 {
				go func() {
					for g.read(t, "out") != "install\n" {
						time.Sleep(time.Millisecond)
					}
					cancel()
				}()
			}
			err := s.Serve(ctx)
			var failed *ErrandError
			switch {
			case tt.code < 0 && err != nil:
				t.Error(err)
			case tt.code >= 0 && (!errors.As(err, &failed) || failed.Exit.Code != tt.code):
				t.Errorf("%v", err)
			}
			if got := g.read(t, "out"); got != "install\n" {
				t.Errorf("it said %q", got)
			}
		})
	}
}

// TestErrandIsAskedToEnd ends a supervisor whose errand runs.
func TestErrandIsAskedToEnd(t *testing.T) {
	g := newGround(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := filepath.Join(g.dir, "out")
	s := &Supervisor{Folder: g.client.Folder, Run: filepath.Join(g.dir, "run"), Errand: &Errand{
		Argv: []string{"/bin/sh", "-c", "trap 'echo asked >" + out + "; exit 75' TERM; echo begun >" + out + "; while :; do sleep 0.01; done"}, Env: []string{path}}}
	go func() {
		for g.read(t, "out") != "begun\n" {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if err := s.Serve(ctx); err != nil {
		t.Error(err)
	}
	if got := g.read(t, "out"); got != "asked\n" {
		t.Errorf("it said %q", got)
	}
}

func TestOneThatStaysDoesNotFinish(t *testing.T) {
	g := newGround(t)
	g.serve(t, func(s *Supervisor) { s.Stays = true })
	if o, err := g.client.Finish(t.Context()); err != nil || !o.Stays {
		t.Fatalf("%+v, %v", o, err)
	}
	time.Sleep(3 * lookEvery) // nothing must happen
	if !g.client.Answers(t.Context()) {
		t.Error("it has ended")
	}
}

// TestStopAllEndsWhatLivesOn stops a service whose children outlive it, and one whose do not.
func TestStopAllEndsWhatLivesOn(t *testing.T) {
	g := newGround(t)
	for name, alone := range map[string]bool{"leaves-children": true, "takes-children": false} {
		g.define(t, Service{Name: name, Alone: alone}, "setsid sleep 4321 & echo $! >"+filepath.Join(g.dir, name)+"; exec sleep 1000", true)
	}
	g.serve(t, nil)
	child := func(name string) int {
		pid := 0
		eventually(t, "its child is there", func() bool {
			pid, _ = strconv.Atoi(strings.TrimSpace(g.read(t, name)))
			program, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
			return bytes.HasPrefix(program, []byte("sleep\x00")) // it has a session of its own by then, as signals are for a group
		})
		return pid
	}
	for name, alone := range map[string]bool{"leaves-children": true, "takes-children": false} {
		pid := child(name)
		if err := g.client.Stop(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if unit.Alive("/", pid) != alone {
			t.Errorf("%s: its child lives: %v", name, !alone)
		}
		if err := g.client.StopAll(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if unit.Alive("/", pid) {
			t.Errorf("%s: its child lives after all was stopped", name)
		}
	}
}

// TestStopProgram stops what has no process any more by its own program.
func TestStopProgram(t *testing.T) {
	g := newGround(t)
	out := filepath.Join(g.dir, "out")
	g.define(t, Service{Name: "remains", Once: true, Remains: true, Stop: []string{"/bin/sh", "-c", "echo stopped >>" + out}}, "echo started >>"+out, true)
	end := g.serve(t, nil)
	if err := g.client.WaitActive(t.Context(), "remains"); err != nil {
		t.Fatal(err)
	}
	if s := g.state(t, "remains"); s.Sub != exited || s.MainPID != 0 {
		t.Errorf("%+v", s)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if got := g.read(t, "out"); got != "started\nstopped\n" {
		t.Errorf("%q", got)
	}
}

func TestFileStartsAService(t *testing.T) {
	g := newGround(t)
	file, out := filepath.Join(g.dir, "request"), filepath.Join(g.dir, "out")
	g.define(t, Service{Name: "asked", Once: true, When: file}, "rm "+file+"; echo done >>"+out, true)
	g.serve(t, nil)
	if err := g.client.WaitActive(t.Context(), "asked"); err != nil {
		t.Fatal(err)
	}
	for n := 1; n < 3; n++ {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it runs", func() bool { return strings.Count(g.read(t, "out"), "done") == n })
	}
}

// TestDamagedDefinition leaves out what cannot be read, and starts the rest.
// TestUndefinedIsKeptWhileItIsStarted wants a service whose definition goes to be looked after as long as it is being started or stopped, when it
// has no number: nobody else would know of its process.
func TestUndefinedIsKeptWhileItIsStarted(t *testing.T) {
	for state, kept := range map[[2]string]bool{
		{activating, "start"}: true, {deactivating, "stop"}: true,
		{activating, autoRestart}: false, {active, awaits}: false, {active, exited}: false, {inactive, "dead"}: false, {failed, failed}: false,
	} {
		k := newKeeper(Service{Name: "gone"}, true, nil, slog.New(slog.DiscardHandler))
		k.set(func(s *Status) { s.Active, s.Sub = state[0], state[1] })
		s := &Supervisor{Folder: t.TempDir(), keepers: []*keeper{k}}
		if err := s.reload(t.Context()); err != nil || (len(s.keepers) == 1) != kept || !k.gone() {
			t.Errorf("%v: %d are kept, %v", state, len(s.keepers), err)
		}
	}
}

func TestDamagedDefinition(t *testing.T) {
	g := newGround(t)
	g.define(t, Service{Name: "whole"}, "exec sleep 1000", true)
	if err := os.WriteFile(File(g.client.Folder, "damaged"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.serve(t, nil)
	if s := g.state(t, "whole"); s.Active != "active" {
		t.Errorf("%+v", s)
	}
	if err := g.client.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "definition") {
		t.Errorf("%v", err)
	}
	if s := g.state(t, "whole"); s.Active != "active" {
		t.Errorf("after a reload %+v", s)
	}
}

func TestNobodyAnswers(t *testing.T) {
	g := newGround(t)
	g.define(t, Service{Name: "known"}, "exit 0", true)
	if s := g.state(t, "known"); !s.Enabled() || s.Active != "inactive" || s.Load != "loaded" {
		t.Errorf("%+v", s)
	}
	if s := g.state(t, "unknown"); s.Load != "not-found" {
		t.Errorf("%+v", s)
	}
	if err := g.client.Start(t.Context(), "known"); !reason.Is(err, reason.SupervisorUnreachable) {
		t.Errorf("%v", err)
	}
	if err := g.client.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := g.client.Finish(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestUnknownRequests(t *testing.T) {
	g := newGround(t)
	g.serve(t, nil)
	for path, code := range map[string]int{"/v1/services/x/start": 404, "/v1/services/..%2fx/start": 400, "/v1/services/x/fly": 404, "/v1/other": 404} {
		_, err := g.client.call(t.Context(), http.MethodPost, path)
		var r *refused
		if !errors.As(err, &r) || r.code != code {
			t.Errorf("%s: %v", path, err)
		}
	}
	if st, err := os.Stat(g.client.Socket); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", st, err)
	}
}
