package supervise

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

// crash starts a supervisor in a process of its own.
func (g *ground) crash(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SUPERVISE_TEST_DIR="+g.dir)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it answers", func() bool {
		o, err := g.client.Overview(t.Context())
		return err == nil && o.PID == cmd.Process.Pid
	})
	return cmd
}

// TestCrash kills the supervisor. The next one takes over what runs, by its number and start, ends what is not defined any more,
// starts what has died meanwhile, and takes a number that was given anew for what it is.
func TestCrash(t *testing.T) {
	g := newGround(t)
	for _, name := range []string{"lives", "dies", "leaves", "recycled"} {
		g.define(t, Service{Name: name, Notify: name == "lives"}, "exec sleep 1000", true)
	}
	first := g.crash(t)
	pids := map[string]uint32{}
	for _, name := range []string{"lives", "dies", "leaves", "recycled"} {
		eventually(t, name+" runs", func() bool { pids[name] = g.state(t, name).MainPID; return pids[name] != 0 })
	}
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	if err := syscall.Kill(int(pids["dies"]), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(File(g.client.Folder, "leaves")), os.Remove(mark(g.client.Folder, "leaves"))); err != nil {
		t.Fatal(err)
	}
	// the number is that of this test now, as it would be after a wrap: it must not be touched
	if err := syscall.Kill(int(pids["recycled"]), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	me, err := identify("", os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := me.write(filepath.Join(g.dir, "run", "services", "recycled.json")); err != nil {
		t.Fatal(err)
	}

	second := g.crash(t)
	o := Overview{}
	eventually(t, "all run", func() bool {
		o, err = g.client.Overview(t.Context())
		n := 0
		for _, s := range o.Services {
			if s.PID != 0 {
				n++
			}
		}
		return err == nil && n == 3 && len(o.Services) == 3
	})
	for _, s := range o.Services {
		same := s.PID == int(pids[s.Name])
		if same != (s.Name == "lives") || s.Adopted != (s.Name == "lives") || s.PID == os.Getpid() {
			t.Errorf("%+v", s)
		}
	}
	eventually(t, "what is not defined has ended", func() bool { return !unit.Alive("/", int(pids["leaves"])) })

	// what was taken over is looked after
	if err := syscall.Kill(int(pids["lives"]), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is started anew", func() bool {
		s := g.state(t, "lives")
		return s.MainPID != 0 && s.MainPID != pids["lives"]
	})
	if err := second.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = second.Wait()
	third := g.crash(t)
	running := uint32(0)
	eventually(t, "it has taken over what runs", func() bool { running = g.state(t, "dies").MainPID; return running != 0 })
	if err := third.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = third.Wait()
	end := g.serve(t, func(s *Supervisor) { s.Hold = true }) // which starts nothing, and stops what it has taken over
	if s := g.state(t, "dies"); s.MainPID != running {
		t.Errorf("%+v", s)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
	if left, err := leftovers("", "lives"); err != nil || len(left) > 0 {
		t.Errorf("%v are left, %v", left, err)
	}
}
