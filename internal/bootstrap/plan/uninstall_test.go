package plan

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func (h *fakeHost) uninstall(t *testing.T, keep func(string) bool) ([]Reversed, error) {
	t.Helper()
	s := h.open(nil)
	defer s.Close()
	return (&Uninstaller{Store: s, Keep: keep}).Run(t.Context())
}

func left(all []Reversed) []string {
	var out []string
	for _, r := range all {
		out = append(out, r.Left...)
	}
	slices.Sort(out)
	return out
}

func TestUninstallLeavesWhatTheUserChanged(t *testing.T) {
	h := newHost(t)
	before := h.tree()
	if _, err := h.run(h.plan()); err != nil {
		t.Fatal(err)
	}
	h.write("/etc/rancher/k3s/config.yaml", "the user's\n", 0o600)
	h.write("/var/lib/rancher/k3s/agent/images/mine.tar", "the user's", 0o600)
	all, err := h.uninstall(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"/etc/rancher/k3s/config.yaml: somebody else has changed it",
		"/var/lib/rancher/k3s/agent/images: it holds what is not ours",
		"/var/lib/rancher/k3s/agent: it holds what is not ours",
		"/var/lib/rancher/k3s: it holds what is not ours",
		"/var/lib/rancher: it holds what is not ours",
	}
	if got := left(all); !cmp.Equal(want, got) {
		t.Error(cmp.Diff(want, got))
	}
	if !h.is("/etc/rancher/k3s/config.yaml", "the user's\n") || !h.is("/var/lib/rancher/k3s/agent/images/mine.tar", "the user's") {
		t.Error("what the user changed is gone")
	}
	h.write("/etc/rancher/k3s/config.yaml", "disable: [traefik]\n", 0o600)
	if err := errors.Join(os.Chmod(h.path("/etc/rancher/k3s/config.yaml"), 0o640), os.RemoveAll(h.path("/var/lib/rancher"))); err != nil {
		t.Fatal(err)
	}
	if got := h.tree(); got != before {
		t.Error(cmp.Diff(before, got))
	}
}

func TestUninstallKeepsWhatItIsToldTo(t *testing.T) {
	h := newHost(t)
	if _, err := h.run(h.plan()); err != nil {
		t.Fatal(err)
	}
	pods := h.path("/var/lib/kubelet/pods/a/volumes")
	all, err := h.uninstall(t, func(path string) bool { return path == pods })
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{pods + ": kept"}; !cmp.Equal(want, left(all)) {
		t.Error(cmp.Diff(want, left(all)))
	}
	if !h.is("/var/lib/kubelet/pods/a/volumes/data", "of a pod") || !h.is("/var/lib/kubelet/theirs", "somebody else's") {
		t.Error(h.tree())
	}
}

// What comes before a unit that cannot be stopped may still be in use.
func TestUninstallStopsWhereAUnitCannotBeStopped(t *testing.T) {
	h := newHost(t)
	before := h.tree()
	if _, err := h.run(h.plan()); err != nil {
		t.Fatal(err)
	}
	s := h.open(nil)
	s.Undo["unit"] = func(context.Context, Record) ([]string, error) { return nil, errors.New("it does not stop") }
	_, err := (&Uninstaller{Store: s}).Run(t.Context())
	s.Close()
	if err == nil || !strings.Contains(err.Error(), "it does not stop") || !h.is("/usr/local/bin/k3s", elf) {
		t.Errorf("err = %v, tree:\n%s", err, h.tree())
	}
	if got := h.undoAll(); got != before {
		t.Error(cmp.Diff(before, got))
	}
}

// A copy that is damaged cannot come back; it must not keep an uninstall from its end for ever, nor a roll-back from saying so.
func TestACopyThatIsDamaged(t *testing.T) {
	damage := func(h *fakeHost) {
		blob := filepath.Join(h.dir, "blobs", digestOf("disable: [traefik]\n"))
		if err := os.WriteFile(blob, []byte("something else"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := newHost(t)
	if _, err := h.run(h.plan()); err != nil {
		t.Fatal(err)
	}
	damage(h)
	all, err := h.uninstall(t, nil)
	got := left(all)
	if err != nil || len(got) != 1 || !strings.Contains(got[0], "/etc/rancher/k3s/config.yaml: ") || !strings.Contains(got[0], "damaged") || strings.Contains(got[0], "%!") {
		t.Errorf("%q, %v", got, err)
	}
	if !h.is("/etc/rancher/k3s/config.yaml", "ours\n") || len(h.changes()) != 0 {
		t.Error(h.tree())
	}

	h = newHost(t)
	p := h.plan()
	do := p.Steps[3].Do
	p.Steps[3].Do = func(ctx context.Context, r *Recorder) error {
		err := do(ctx, r)
		damage(h)
		return errors.Join(err, errors.New("no"))
	}
	if _, err := h.run(p); !reason.Is(err, reason.StepNotRolledBack) {
		t.Errorf("%v", err)
	}
}

// A copy that was damaged since an earlier run is made anew where its content is about to be replaced again.
func TestACopyIsLookedAtBeforeItIsRelied(t *testing.T) {
	h := newHost(t)
	before := h.tree()
	if err := os.MkdirAll(filepath.Join(h.dir, "blobs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.dir, "blobs", digestOf("old")), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.run(h.plan()); err != nil {
		t.Fatal(err)
	}
	if got := h.undoAll(); got != before {
		t.Error(cmp.Diff(before, got))
	}
}

func TestTheOwnerComesBack(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	h := newHost(t)
	if err := os.Chown(h.path("/etc/debris"), 1234, 2345); err != nil {
		t.Fatal(err)
	}
	if _, err := h.run(h.plan()); err != nil {
		t.Fatal(err)
	}
	h.undoAll()
	if img, err := look(File, h.path("/etc/debris")); err != nil || img.UID != 1234 || img.GID != 2345 || img.Mode != 0o600 {
		t.Errorf("%+v, %v", img, err)
	}
}

func TestAnUninstalledMachineHasNothingToUninstall(t *testing.T) {
	h := newHost(t)
	if all, err := h.uninstall(t, nil); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	if got, err := os.ReadFile(filepath.Join(h.dir, "journal.jsonl")); err != nil || strings.Contains(string(got), UninstallPlan) {
		t.Errorf("%s, %v", got, err)
	}
}

func TestWaitingIsNotRolledBack(t *testing.T) {
	h := newHost(t)
	booted := false
	var states []State
	p := Plan{Name: "install", Steps: []Step{
		{ID: "cmdline", Do: func(_ context.Context, r *Recorder) error { return r.WriteFile("/boot/cmdline", 0o600, []byte("ours")) }},
		{ID: "reboot", Done: func(context.Context) (bool, error) { return booted, nil }, Prove: func(context.Context) error {
			return Wait(WaitingReboot, reason.Newf(reason.RebootNeeded, "the kernel was started without it"))
		}},
	}}
	run := func() error {
		s := h.open(nil)
		defer s.Close()
		_, err := (&Runner{Store: s, OnEvent: func(e Event) { states = append(states, e.State) }}).Run(t.Context(), p)
		return err
	}
	open := func() (State, bool) {
		s := h.open(nil)
		defer s.Close()
		_, state, open := s.Journal.Open()
		return state, open
	}
	if err := run(); !reason.Is(err, reason.RebootNeeded) || !h.is("/boot/cmdline", "ours") {
		t.Errorf("%v, tree:\n%s", err, h.tree())
	}
	if state, is := open(); !is || state != WaitingReboot || states[len(states)-1] != WaitingReboot {
		t.Errorf("state %s, open %v, events %v", state, is, states)
	}
	booted = true
	if err := run(); err != nil {
		t.Error(err)
	}
	if state, is := open(); is {
		t.Errorf("still open in state %s", state)
	}
}

func TestAFailedPlanIsNotOpen(t *testing.T) {
	for _, undo := range []error{nil, errors.New("stuck")} {
		h := newHost(t)
		p := Plan{Name: "install", Steps: []Step{{
			ID: "a", Do: func(context.Context, *Recorder) error { return errors.New("no") },
			Undo: func(context.Context) error { return undo },
		}}}
		if _, err := h.run(p); err == nil {
			t.Fatal("no error")
		}
		s := h.open(nil)
		if _, state, open := s.Journal.Open(); open || (state == Stuck) != (undo != nil) {
			t.Errorf("undo %v: state %s, open %v", undo, state, open)
		}
		s.Close()
	}
}

func TestPhasesComeInOrderEachWithItsTime(t *testing.T) {
	h := newHost(t)
	var order []string
	note := func(name string) func(context.Context) error {
		return func(ctx context.Context) error {
			deadline, ok := ctx.Deadline()
			if !ok || deadline.IsZero() {
				t.Errorf("%s has no limit", name)
			}
			order = append(order, name)
			return nil
		}
	}
	p := Plan{Name: "x", Steps: []Step{{
		ID:      "a",
		Prepare: func(ctx context.Context, _ func(done, total int64)) error { return note("prepare")(ctx) },
		Do:      func(ctx context.Context, _ *Recorder) error { return note("do")(ctx) },
		Prove:   note("prove"), Commit: note("commit"),
	}}}
	if _, err := h.run(p); err != nil {
		t.Fatal(err)
	}
	s := h.open(nil)
	defer s.Close()
	for _, e := range s.Journal.Entries() {
		order = append(order, string(e.State))
	}
	want := []string{"prepare", "do", "prove", "commit", "planned", "started", "applied", "proved", "done", "done"}
	if !cmp.Equal(want, order) {
		t.Error(cmp.Diff(want, order))
	}
}

// What ran before a change that failed runs again, with its files as they were.
func TestReviveComesAfterTheFilesAreAsBefore(t *testing.T) {
	h := newHost(t)
	h.write("/etc/conf", "before", 0o600)
	seen := ""
	p := Plan{Name: "x", Steps: []Step{{
		ID: "a",
		Do: func(_ context.Context, r *Recorder) error {
			return errors.Join(r.WriteFile("/etc/conf", 0o600, []byte("ours")), errors.New("no"))
		},
		Revive: func(context.Context) error {
			content, err := os.ReadFile(h.path("/etc/conf"))
			seen = string(content)
			return err
		},
	}}}
	if _, err := h.run(p); !reason.Is(err, reason.StepFailed) || seen != "before" {
		t.Errorf("err = %v, revived with %q", err, seen)
	}
}

// A tree is owned from the first run on: what the service has put into it since is ours for all later ones.
func TestATreeIsOwnedOnce(t *testing.T) {
	h := newHost(t)
	version := 1
	p := Plan{Name: "x", Steps: []Step{{ID: "a", Do: func(_ context.Context, r *Recorder) error {
		if err := r.Own("/var/lib/kubelet"); err != nil {
			return err
		}
		h.write("/var/lib/kubelet/ours", strings.Repeat("x", version), 0o600)
		return nil
	}}}}
	for range 3 {
		version++
		if _, err := h.run(p); err != nil {
			t.Fatal(err)
		}
	}
	if got := h.changes(); len(got) != 1 || !cmp.Equal(got[0].Before.Names, []string{"theirs"}) {
		t.Errorf("%+v", got)
	}
	h.undoAll()
	if h.is("/var/lib/kubelet/ours", "xxxx") || !h.is("/var/lib/kubelet/theirs", "somebody else's") {
		t.Error(h.tree())
	}
}

// A tree that a program fills stays as long as the program does.
func TestATreeStaysWithItsProgram(t *testing.T) {
	h := newHost(t)
	p := Plan{Name: "x", Steps: []Step{{ID: "a", Do: func(_ context.Context, r *Recorder) error {
		if err := errors.Join(r.Own("/var/lib/kubelet", "/usr/bin/nothing", "/usr/sbin/engine"), r.Own("/var/lib/gone", "/usr/bin/nothing")); err != nil {
			return err
		}
		h.write("/var/lib/kubelet/new", "precious", 0o600)
		h.write("/var/lib/gone/new", "ours", 0o600)
		h.write("/usr/sbin/engine", "", 0o755)
		return nil
	}}}}
	if _, err := h.run(p); err != nil {
		t.Fatal(err)
	}
	s := h.open(nil)
	defer s.Close()
	reversed, err := (&Uninstaller{Store: s}).Run(t.Context())
	if err != nil || len(reversed) != 2 || reversed[0].Op != Undone || reversed[1].Op != Left || !strings.Contains(reversed[1].Left[0], "/usr/sbin/engine") {
		t.Errorf("%+v, %v", reversed, err)
	}
	if !h.is("/var/lib/kubelet/new", "precious") || h.is("/var/lib/gone/new", "ours") {
		t.Error(h.tree())
	}
}
