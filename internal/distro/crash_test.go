package distro

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// crash ends a run as SIGKILL would, as far as the disk can tell.
type crash struct{}

// crashBench is a machine on which every step of an install of k3s has something to do.
func crashBench(t *testing.T, openRC bool) *bench {
	if _, err := os.Stat("/dev/shm"); err == nil {
		t.Setenv("TMPDIR", "/dev/shm") // it syncs thousands of times
	}
	b := newBench(t)
	if openRC {
		b.in.OpenRC = true
		b.in.Ready = func(context.Context) error { return nil }
	}
	b.write("/usr/local/bin/pipeops-agent", "the agent")
	b.write("/proc/sys/kernel/random/boot_id", "one\n")
	b.write("/boot/cmdline.txt", "console=tty1 cgroup_enable=memory\n")
	b.write("/proc/cmdline", "console=tty1 cgroup_enable=memory cgroup_memory=1\n")
	b.write("/etc/rancher/k3s/config.yaml", "disable: [metrics-server]\n") // somebody else's
	b.in.ResolvConf = []byte("nameserver 10.0.0.2\n")
	b.in.Remedies = []Remedy{
		{ID: RemedyOOMScore}, {ID: RemedyKernelCmdline, Values: []string{"/boot/cmdline.txt", "cgroup_memory=1"}},
		{ID: RemedySharedRoot}, {ID: RemedyNetManager},
	}
	b.in.Run = func(context.Context, time.Duration, ...string) ([]byte, error) { return nil, nil }
	return b
}

// whole lists the steps of an install that change the machine, as package bootstrap puts them together. alone says that it is
// run by the unit that resumes.
func (b *bench) whole(alone bool) []plan.Step {
	b.t.Helper()
	const program = "/usr/local/bin/pipeops-agent"
	resume, err := ResumeService(b.in, program, !alone)
	if err != nil {
		b.t.Fatal(err)
	}
	steps, err := k3sSteps(b.in)
	if err != nil {
		b.t.Fatal(err)
	}
	agent, err := AgentService(b.in, program, "config")
	if err != nil {
		b.t.Fatal(err)
	}
	return append(append([]plan.Step{resume}, steps...), agent)
}

// dieAt runs the install and kills it at the nth crash point: there is one before and one after every write of the journal and
// of the ledger. It reports whether it came to its end before that.
func (b *bench) dieAt(n int, alone bool) (ended bool) {
	b.t.Helper()
	return b.dieWith(n, b.whole(alone))
}

func (b *bench) dieWith(n int, steps []plan.Step) (ended bool) {
	b.t.Helper()
	s, err := plan.Open(b.in.Dir, b.in.Root)
	if err != nil {
		b.t.Fatal(err)
	}
	defer s.Close()
	defer func() {
		if p := recover(); p != nil && p != (crash{}) {
			panic(p)
		}
	}()
	s.Undo = b.in.Undo()
	s.CrashPoints(func() {
		if n--; n == 0 {
			panic(crash{})
		}
	})
	if _, err := (&plan.Runner{Store: s}).Run(b.t.Context(), plan.Plan{Name: "install", Steps: steps}); err != nil {
		b.t.Fatal(err)
	}
	return true
}

// changes lists what the ledger holds, without what may differ from run to run.
func (b *bench) changes() []plan.Record {
	b.t.Helper()
	s, err := plan.Open(b.in.Dir, b.in.Root)
	if err != nil {
		b.t.Fatal(err)
	}
	defer s.Close()
	all := s.Ledger.Changes()
	for i := range all {
		all[i].Time, all[i].Since, all[i].ID = time.Time{}, 0, 0
		if before := *all[i].Before; all[i].Kind == plan.Tree {
			before.Value = strings.TrimPrefix(before.Value, b.in.Root)
			all[i].Before = &before
		}
	}
	return all
}

// TestEveryRecordOfAnInstallIsACrashPoint kills a full install at each write of journal and ledger, some twice, and goes on as
// the unit that resumes does: the same machine, and the same ledger, must come of it. Then it is uninstalled. Of an install
// under OpenRC every fifth is enough: only its services differ.
func TestEveryRecordOfAnInstallIsACrashPoint(t *testing.T) {
	t.Run("systemd", func(t *testing.T) { everyCrashPoint(t, 1, func() *bench { return crashBench(t, false) }) })
	t.Run("OpenRC", func(t *testing.T) { everyCrashPoint(t, 5, func() *bench { return crashBench(t, true) }) })
}

// TestEveryRecordOfAJoinIsACrashPoint does so with a join, as it goes on with what the cluster has said. The token of k3s is in its own
// file, and in nothing that a run or the next one writes down of it.
func TestEveryRecordOfAJoinIsACrashPoint(t *testing.T) {
	for name, c := range map[string]struct {
		role   wire.Role
		openRC bool
		stride int
	}{"worker": {wire.RoleWorker, false, 3}, "server": {wire.RoleServer, false, 7}, "worker under OpenRC": {wire.RoleWorker, true, 9}} {
		t.Run(name, func(t *testing.T) {
			clean := everyCrashPoint(t, c.stride, func() *bench {
				b := crashBench(t, c.openRC)
				b.in.Join = joining(c.role)
				b.in.Join.Settings = map[string][]string{"cluster-cidr": {"10.42.0.0/16"}}
				return b
			})
			secret := nodeToken[strings.Index(nodeToken, "::")+2:]
			if got := clean.read(k3sJoinToken); !strings.Contains(got, secret) {
				t.Errorf("the token file holds %q", got)
			}
			for _, dir := range []string{clean.in.Dir, clean.in.Root} {
				err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
					if err != nil || !d.Type().IsRegular() || path == clean.in.path(k3sJoinToken) {
						return err
					}
					if content, err := os.ReadFile(path); err != nil || bytes.Contains(content, []byte(secret)) {
						t.Errorf("%s holds the token, or cannot be read: %v", path, err)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// everyCrashPoint does so on benches that are all alike, and returns one on which all was done in one run.
func everyCrashPoint(t *testing.T, stride int, make func() *bench) *bench {
	clean := make()
	before := clean.tree()
	if _, err := clean.runSteps(clean.whole(false), nil); err != nil {
		t.Fatal(err)
	}
	tree, changes, states := clean.tree(), clean.changes(), clean.units.states
	points := 0
	for n := 1; ; n += stride {
		b := make()
		if b.dieAt(n, false) {
			break
		}
		points++
		if n%2 == 0 { // it was a power cut
			b.units.boot()
		}
		if n%3 == 0 { // and what resumes dies as well
			b.dieAt(1+n/3, true)
		}
		if _, err := b.runSteps(b.whole(true), nil); err != nil {
			t.Fatalf("crash point %d: it does not go on: %v", n, err)
		}
		if got := b.tree(); got != tree {
			t.Errorf("crash point %d: another end state:\n%s", n, cmp.Diff(tree, got))
		}
		if got := b.changes(); !cmp.Equal(changes, got) {
			t.Errorf("crash point %d: lost or repeated changes:\n%s", n, cmp.Diff(changes, got))
		}
		if diff := cmp.Diff(running(states), running(b.units.states)); diff != "" {
			t.Errorf("crash point %d: other services:\n%s", n, diff)
		}
		if n%10 == 0 {
			b.uninstalled(before)
		}
	}
	t.Logf("%d crash points", points)
	if points < 200/stride {
		t.Errorf("only %d crash points: are they still called?", points)
	}
	return clean
}

// running leaves out the unit that resumes: whether it is started depends on who runs the install.
func running(all map[string]unit.State) map[string]unit.State {
	out := map[string]unit.State{}
	for name, s := range all {
		if name == "pipeops-agent-resume.service" {
			s.Active = ""
		}
		out[name] = s
	}
	return out
}

// uninstalled wants the machine back as it was.
func (b *bench) uninstalled(before string) {
	b.t.Helper()
	s, err := plan.Open(b.in.Dir, b.in.Root)
	if err != nil {
		b.t.Fatal(err)
	}
	defer s.Close()
	s.Undo = b.in.Undo()
	s.Run = b.in.Run
	if _, err := (&plan.Uninstaller{Store: s}).Run(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	if got := b.tree(); got != before {
		b.t.Errorf("undone is not as before:\n%s", cmp.Diff(before, got))
	}
}

// TestResumeServiceIsNotStartedByItself wants what resumes to enable its unit and never to start, and so to end, itself.
func TestResumeServiceIsNotStartedByItself(t *testing.T) {
	b := crashBench(t, false)
	for _, alone := range []bool{true, false} {
		step, err := ResumeService(b.in, "/usr/local/bin/pipeops-agent", !alone)
		if err != nil {
			t.Fatal(err)
		}
		b.units.since()
		if _, err := b.runSteps([]plan.Step{step}, nil); err != nil {
			t.Fatal(err)
		}
		want := []string{"reload", "enable pipeops-agent-resume.service"}
		if !alone {
			want = append(want, "restart pipeops-agent-resume.service")
		}
		if diff := cmp.Diff(want, b.units.since()); diff != "" {
			t.Errorf("alone %v: %s", alone, diff)
		}
		b.uninstalled(crashBench(t, false).tree())
		b.units.since()
	}
	b.write("/usr/lib/systemd/system/pipeops-agent-resume.service", string(must(os.ReadFile("../../systemd/pipeops-agent-resume.service"))))
	step, err := ResumeService(b.in, "/usr/bin/pipeops-agent", false)
	if err != nil || len(step.Changes) != 1 {
		t.Errorf("with a package: %v, %v", step.Changes, err)
	}
}

func must(content []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return content
}

// TestTheRebootIsWaitedFor wants a step that waits to stay in the journal as what it is, and to be passed once the machine was
// started with the words.
func TestTheRebootIsWaitedFor(t *testing.T) {
	b := crashBench(t, false)
	b.write("/proc/cmdline", "console=tty1 cgroup_enable=memory\n")
	for range 2 {
		_, err := b.runSteps(b.whole(false), nil)
		wait := (*plan.WaitingError)(nil)
		if !errors.As(err, &wait) || wait.For != plan.WaitingReboot || !reason.Is(err, reason.RebootNeeded) {
			t.Fatalf("err = %v", err)
		}
		j, err := plan.ReadJournal(b.in.Dir)
		if err != nil {
			t.Fatal(err)
		}
		if name, state, open := j.Open(); name != "install" || state != plan.WaitingReboot || !open {
			t.Errorf("the journal says %s %s, open %v", name, state, open)
		}
	}
	if got := b.read("/boot/cmdline.txt"); got != "console=tty1 cgroup_enable=memory cgroup_memory=1\n" {
		t.Errorf("what waits was undone: %q", got)
	}
	b.write("/proc/cmdline", b.read("/boot/cmdline.txt"))
	if _, err := b.runSteps(b.whole(true), nil); err != nil {
		t.Error(err)
	}
}
