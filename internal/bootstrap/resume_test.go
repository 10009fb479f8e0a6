package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// machine is one on which something was begun.
type machine struct {
	t         *testing.T
	root, dir string
	says      []wire.Event
	calls     int
}

func newMachine(t *testing.T) *machine {
	m := &machine{t: t, root: t.TempDir(), dir: filepath.Join(t.TempDir(), "state")}
	m.boot("one")
	return m
}

// boot is another boot of the machine.
func (m *machine) boot(id string) {
	m.t.Helper()
	for path, content := range map[string]string{
		"/proc/sys/kernel/random/boot_id": id + "\n",
		"/proc/1/stat":                    "1 (the init (x)) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 77 1000 200\n",
	} {
		if err := os.MkdirAll(filepath.Dir(m.root+path), 0o755); err != nil {
			m.t.Fatal(err)
		}
		if err := os.WriteFile(m.root+path, []byte(content), 0o644); err != nil {
			m.t.Fatal(err)
		}
	}
	if err := os.RemoveAll(m.root + "/run"); err != nil {
		m.t.Fatal(err)
	}
}

// user runs an install as a user does, which ends so; begin says that it comes to its first step.
func (m *machine) user(ctx context.Context, begin bool, end error) error {
	m.t.Helper()
	store, err := plan.Open(m.dir, "")
	if err != nil {
		m.t.Fatal(err)
	}
	defer store.Close()
	g := newGuard(store, m.dir, installCommand)
	g.Root, g.Stopping = m.root, func(context.Context) bool { return false }
	g.Settings = func() (json.RawMessage, error) { return json.RawMessage(`{"cluster":"one"}`), nil }
	if begin {
		if err := g.Begin(ctx); err != nil {
			m.t.Fatal(err)
		}
	}
	return g.End(ctx, end)
}

// killed runs an install that ends without a word.
func (m *machine) killed(step string) {
	m.t.Helper()
	store, err := plan.Open(m.dir, "")
	if err != nil {
		m.t.Fatal(err)
	}
	defer store.Close()
	g := newGuard(store, m.dir, installCommand)
	g.Root = m.root
	g.Settings = func() (json.RawMessage, error) { return json.RawMessage(`{"cluster":"one"}`), nil }
	if err := g.Begin(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	m.run(m.t.Context(), store, step, errors.New("killed"))
}

// run makes the step, or is stopped in it by what a signal leaves.
func (m *machine) run(ctx context.Context, store *plan.Store, step string, stop error) {
	m.t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_, err := (&plan.Runner{Store: store}).Run(ctx, plan.Plan{Name: installCommand, Steps: []plan.Step{{
		ID: step, Do: func(context.Context, *plan.Recorder) error {
			if stop != nil {
				cancel()
			}
			return stop
		},
	}}})
	if stop == nil && err != nil || stop != nil && !errors.Is(err, stop) {
		m.t.Fatal(err)
	}
}

// resume goes on by itself; do is what the operation comes to.
func (m *machine) resume(do func(ctx context.Context, g *Guard) error) error {
	m.t.Helper()
	r := Resumer{Dir: m.dir, Root: m.root, Operations: map[string]Operation{
		installCommand: func(ctx context.Context, g *Guard, settings json.RawMessage) error {
			if string(settings) != `{"cluster":"one"}` {
				m.t.Errorf("settings %s", settings)
			}
			m.calls++
			m.says = append(m.says, g.resumed())
			return g.End(ctx, do(ctx, g))
		},
	}}
	return r.Run(m.t.Context())
}

func (m *machine) note() *Unfinished {
	m.t.Helper()
	u, err := ReadUnfinished(m.dir)
	if err != nil {
		m.t.Fatal(err)
	}
	return u
}

// begun is the state that status tells, "" where it tells of nothing.
func (m *machine) begun() BegunState {
	m.t.Helper()
	b, err := LookBegun(m.dir, m.root)
	if err != nil {
		m.t.Fatal(err)
	}
	if b == nil {
		return ""
	}
	if b.Err().Error() == "" || b.Command != installCommand {
		m.t.Errorf("it says %+v", b)
	}
	return b.State
}

// last is what the last run said of the interruption.
func (m *machine) last() Interruption {
	m.t.Helper()
	var i Interruption
	if len(m.says) == 0 {
		m.t.Fatal("it said nothing")
	}
	if err := json.Unmarshal(m.says[len(m.says)-1].Detail, &i); err != nil {
		m.t.Fatal(err)
	}
	return i
}

func ends(err error) func(context.Context, *Guard) error {
	return func(context.Context, *Guard) error { return err }
}

func TestNothingToResume(t *testing.T) {
	m := newMachine(t)
	if err := m.resume(ends(nil)); err != nil || m.calls != 0 || m.begun() != "" {
		t.Errorf("%v, %d calls", err, m.calls)
	}
	gone(t, m.dir)
	if err := m.user(t.Context(), true, nil); err != nil || m.note() != nil {
		t.Errorf("an install that ended well: %v, %v", err, m.note())
	}
	failed := reason.Newf(reason.StepFailed, "x")
	if err := m.user(t.Context(), true, failed); !errors.Is(err, failed) || m.note() != nil {
		t.Errorf("one that failed: %v, %v", err, m.note())
	}
	if err := m.resume(ends(nil)); err != nil || m.calls != 0 {
		t.Errorf("%v, %d calls", err, m.calls)
	}
}

func TestResumeOfAKilledInstall(t *testing.T) {
	for boot, cause := range map[string]string{"one": Killed, "two": Restarted} {
		m := newMachine(t)
		m.killed("k3s-unit")
		if u := m.note(); u == nil || m.begun() != Due {
			t.Fatalf("%+v, %s", u, m.begun())
		}
		if st, err := os.Stat(filepath.Join(m.dir, UnfinishedFile)); err != nil || st.Mode() != 0o600 {
			t.Errorf("mode %v, %v", st.Mode(), err)
		}
		m.boot(boot)
		err := m.resume(func(context.Context, *Guard) error {
			if _, err := os.Stat(m.root + motd); err != nil {
				t.Errorf("those who log in are not told: %v", err)
			}
			if m.begun() != Running {
				t.Errorf("under way is told as %s", m.begun())
			}
			return nil
		})
		if err != nil || m.calls != 1 || m.note() != nil {
			t.Errorf("%v, %d calls, %+v", err, m.calls, m.note())
		}
		if i := m.last(); i.Cause != cause || i.Step != "k3s-unit" || i.State != plan.Started || i.Attempt != 1 {
			t.Errorf("it says %+v", i)
		}
		if _, err := os.Stat(m.root + motd); err == nil {
			t.Error("those who log in are still told")
		}
	}
}

func TestStoppedByAUser(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	m := newMachine(t)
	m.killed("k3s-unit")
	if err := m.user(ctx, true, ctx.Err()); err == nil || m.note() != nil || m.begun() != Stopped {
		t.Errorf("%v, %+v, %s", err, m.note(), m.begun())
	}
	m.killed("k3s-unit")
	store, err := plan.Open(m.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	g := newGuard(store, m.dir, installCommand)
	g.Root, g.Stopping = m.root, func(context.Context) bool { return true }
	if err := g.End(ctx, ctx.Err()); err == nil || m.note() == nil {
		t.Errorf("by a machine that goes down: %v, %+v", err, m.note())
	}
}

func TestRefusedBeforeItBegan(t *testing.T) {
	m := newMachine(t)
	m.killed("k3s-unit")
	refused := reason.Newf(reason.AlreadyEnrolled, "x")
	if err := m.user(t.Context(), false, refused); !errors.Is(err, refused) || m.note() == nil {
		t.Errorf("%v: what was unfinished is forgotten", err)
	}
	if err := m.resume(ends(refused)); !errors.Is(err, refused) || m.note() != nil || m.begun() != FailedBefore {
		t.Errorf("alone: %v, %+v, %s", err, m.note(), m.begun())
	}
}

func TestWaitingForAReboot(t *testing.T) {
	wait := func(why string) error {
		return plan.Wait(plan.WaitingReboot, reason.Newf(reason.RebootNeeded, "%s", why))
	}
	m := newMachine(t)
	err := m.user(t.Context(), true, wait("no cgroup_memory=1"))
	if !reason.Is(err, reason.RebootNeeded) || reason.Exit(err) != reason.ExitReboot || !Repeats(err) || m.begun() != AwaitsReboot {
		t.Fatalf("%v, %s", err, m.begun())
	}
	if text, err := os.ReadFile(m.root + motd); err != nil || !strings.Contains(string(text), "waits for a reboot: no cgroup_memory=1") {
		t.Errorf("%s, %v", text, err)
	}
	if err := m.resume(ends(nil)); err != nil || m.calls != 0 {
		t.Fatalf("it went on without a reboot: %v", err)
	}
	m.boot("two")
	if m.begun() != Due {
		t.Errorf("after the reboot it is %s", m.begun())
	}
	err = m.resume(ends(wait("no cgroup_memory=1")))
	if !reason.Is(err, reason.RebootNeeded) || Repeats(err) || !strings.Contains(err.Error(), "and still") || m.begun() != AwaitsReboot || m.calls != 1 {
		t.Errorf("a reboot that brought nothing: %v, %s, %d calls", err, m.begun(), m.calls)
	}
	if err := m.resume(ends(nil)); err != nil || m.calls != 1 {
		t.Errorf("it is asked again in the same boot: %v", err)
	}
	m.boot("three")
	if err := m.resume(ends(nil)); err != nil || m.note() != nil || m.last().Cause != Rebooted {
		t.Errorf("%v, %+v, %+v", err, m.note(), m.last())
	}
}

func TestWaitingForConsent(t *testing.T) {
	m := newMachine(t)
	m.killed("k3s-unit")
	m.boot("two")
	needed := reason.Newf(reason.ConsentNeeded, "iptables (package)")
	for range 3 { // whoever asks
		if err := m.resume(ends(needed)); err != nil && !reason.Is(err, reason.ConsentNeeded) || m.calls != 1 || m.begun() != AwaitsConsent {
			t.Errorf("%v, %d calls, %s", err, m.calls, m.begun())
		}
	}
	j, err := plan.ReadJournal(m.dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, state, open := j.Open(); state != plan.WaitingUser || !open {
		t.Errorf("the journal says %s, open %v", state, open)
	}
	if err := m.user(t.Context(), true, nil); err != nil || m.note() != nil {
		t.Errorf("with consent: %v, %+v", err, m.note())
	}
}

func TestAtRestAndKilledBeforeTheNoteWasGone(t *testing.T) {
	m := newMachine(t)
	m.killed("k3s-unit")
	store, err := plan.Open(m.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = (&plan.Runner{Store: store}).Run(t.Context(), plan.Plan{Name: installCommand, Steps: []plan.Step{
		{ID: "k3s-unit", Do: func(context.Context, *plan.Recorder) error { return errors.New("no") }},
	}})
	if err == nil || store.Close() != nil {
		t.Fatal(err)
	}
	if err := m.resume(ends(nil)); err != nil || m.calls != 0 || m.note() != nil {
		t.Errorf("%v, %d calls, %+v", err, m.calls, m.note())
	}
}

func TestNotesThatCannotBeUsed(t *testing.T) {
	m := newMachine(t)
	m.killed("a")
	good, err := os.ReadFile(filepath.Join(m.dir, UnfinishedFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty": "", "no JSON": "{", "another format": `{"format":"x","version":1}`,
		"newer":   strings.Replace(string(good), `"version":1`, `"version":2`, 1),
		"unknown": strings.Replace(string(good), `"version":1`, `"version":1,"more":1`, 1),
		"two":     string(good) + string(good),
		"command": strings.Replace(string(good), `"command":"install"`, `"command":""`, 1),
		"state":   strings.Replace(string(good), `"attempts":0`, `"attempts":0,"waits":"done"`, 1),
		"long":    strings.Repeat(" ", maxUnfinished) + string(good),
		"other":   strings.Replace(string(good), `"command":"install"`, `"command":"upgrade"`, 1),
	} {
		if err := os.WriteFile(filepath.Join(m.dir, UnfinishedFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := m.resume(ends(nil)); !reason.Is(err, reason.NotResumed) || m.calls != 0 {
			t.Errorf("%s: %v, %d calls", name, err, m.calls)
		}
	}
	if err := m.user(t.Context(), true, nil); err != nil || m.note() != nil {
		t.Errorf("an install does not get past it: %v", err)
	}
}

func FuzzUnfinished(f *testing.F) {
	f.Add([]byte(`{"format":"pipeops-resume","version":1,"command":"install","settings":{},"began":"2026-11-26T01:00:00Z","boot":"x","journal":1,"reached":2,"attempts":3,"waits":"waiting-user"}`))
	f.Add([]byte(`{"format":"pipeops-resume","version":1,"settings":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		u, err := parseUnfinished(data)
		if err != nil {
			return
		}
		text, err := u.encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := parseUnfinished(text); err != nil || back.Command != u.Command || back.Attempts != u.Attempts || back.Waits != u.Waits {
			t.Errorf("%+v became %+v, %v", u, back, err)
		}
	})
}

// TestWithdraw wants a run that failed for good to leave nothing, where nothing but the unit that resumes was written.
func TestWithdraw(t *testing.T) {
	failed := reason.Newf(reason.DownloadFailed, "x")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tt := range map[string]struct {
		ctx   context.Context
		alone bool
		more  string // a step that has changed something too
		err   error
		stays bool
	}{
		"failed":          {err: failed},
		"alone, for good": {err: reason.Newf(reason.StepFailed, "x"), alone: true},
		"tried again":     {err: failed, alone: true, stays: true},
		"not the only":    {err: failed, more: "k3s-binary", stays: true},
		"stopped":         {ctx: ended, err: context.Canceled, stays: true},
		"waits":           {err: plan.Wait(plan.WaitingReboot, failed), stays: true},
	} {
		m := newMachine(t)
		store, err := plan.Open(m.dir, m.root)
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		r := &plan.Runner{Store: store}
		var steps []plan.Step
		for _, id := range []string{distro.ResumeStep, tt.more} {
			if id != "" {
				steps = append(steps, plan.Step{ID: id, Do: func(_ context.Context, r *plan.Recorder) error {
					return r.WriteFile("/etc/"+id, 0o644, []byte("x"))
				}})
			}
		}
		if _, err := r.Run(t.Context(), plan.Plan{Name: installCommand, Steps: steps}); err != nil {
			t.Fatal(err)
		}
		ctx := tt.ctx
		if ctx == nil {
			ctx = t.Context()
		}
		g := newGuard(store, m.dir, installCommand)
		g.alone = tt.alone
		if err := g.withdraw(ctx, r, tt.err); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(m.root + "/etc/" + distro.ResumeStep); (err == nil) != tt.stays {
			t.Errorf("%s: stays %v", name, err == nil)
		}
	}
}
