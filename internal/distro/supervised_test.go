package distro

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/supervise"
)

var (
	_ Units    = (*supervise.Client)(nil)
	_ finisher = (*supervise.Client)(nil)
)

// newSupervisedBench is a machine where we run the services ourselves.
func newSupervisedBench(t *testing.T) *bench {
	b := newBench(t)
	b.in.Supervised, b.in.LastWords = true, nil
	return b
}

// defined reads a definition as a supervisor does.
func (b *bench) defined(name string) supervise.Service {
	b.t.Helper()
	s, err := supervise.Parse([]byte(b.read(supervise.File(supervise.Folder(b.in.Dir), name))))
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func TestSupervised(t *testing.T) {
	linux := host.OS{Kind: "linux"}
	for want, all := range map[bool][]host.Facts{
		true: {{Init: host.Init{Name: "bash", Systemd: host.Is(false)}}, {OS: linux, Init: host.Init{Systemd: host.Is(false), OpenRC: host.Is(false)}}},
		false: {{}, {Init: host.Init{Systemd: host.Is(true)}}, {Init: host.Init{Systemd: host.Is(false), OpenRC: host.Is(true)}},
			{OS: host.OS{Kind: "darwin"}, Init: host.Init{Systemd: host.Is(false)}}, {OS: host.OS{Kind: "linux", Family: "alpine"}, Init: host.Init{Name: "init", Systemd: host.Is(false)}}},
	} {
		for _, f := range all {
			if got := Supervised(f); got != want {
				t.Errorf("%+v: %v", f, got)
			}
		}
	}
}

func TestAtBootAndMend(t *testing.T) {
	no := host.Init{Name: "init", Systemd: host.Is(false)}
	inside := host.Virtualization{Stack: []host.Layer{{Kind: host.LayerContainer, Name: "podman"}}}
	for want, f := range map[string]host.Facts{
		"/etc/wsl.conf":                  {Init: no, Virtualization: host.Virtualization{WSL: host.Is(2)}},
		"start the podman container":     {Init: no, Virtualization: inside},
		"/etc/rc.local, which runit":     {Init: host.Init{Name: "runit", Systemd: host.Is(false)}},
		"/etc/rc.local, or whatever":     {Init: no},
		"pipeops-agent run --supervise ": {Init: no},
	} {
		if got := AtBoot(f); !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
	if got := AtBoot(host.Facts{Init: host.Init{Name: "pipeops-agent", Systemd: host.Is(false)}, Virtualization: inside}); got != "" {
		t.Errorf("where it starts already: %q", got)
	}
	for want, init := range map[string]host.Init{
		"pipeops-agent services start k3s; /var/log/k3s.log": no,
		"rc-service k3s start; /var/log/k3s.log":             {OpenRC: host.Is(true)},
		"systemctl start k3s; journalctl -u k3s":             {Systemd: host.Is(true)},
	} {
		if got := Mend(host.Facts{Init: init}, "k3s.service"); !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestK3sInstallUnderASupervisor(t *testing.T) {
	b := newSupervisedBench(t)
	b.in.Remedies = append(b.in.Remedies, Remedy{ID: RemedySharedRoot})
	b.must("k3s-binary", "k3s-images", "sysctl", "k3s-config", "k3s-containerd", "k3s-unit")
	got := b.defined("k3s")
	if !got.Shared || !got.Alone || !got.Notify || !slices.Equal(got.Argv, []string{k3sBinary, "server"}) || !slices.Contains(got.EnvFiles, k3sOpenRCEnv) {
		t.Errorf("%+v", got)
	}
	if st, err := os.Stat(b.in.path(supervise.File(supervise.Folder(b.in.Dir), "k3s"))); err != nil || st.Mode() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	for _, other := range []string{"/etc/systemd", "/etc/init.d", "/etc/logrotate.d"} {
		if _, err := os.Lstat(b.in.path(other)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was written: %v", other, err)
		}
	}
	b.units.since()
	b.must()
	if told := b.units.since(); len(told) != 0 {
		t.Errorf("a second run tells it %v", told)
	}
}

func TestServicesUnderASupervisor(t *testing.T) {
	const binary = "/opt/bin/pipeops-agent"
	b := newSupervisedBench(t)
	b.write(binary, "the agent")
	agent, err := AgentService(b.in, binary, "config")
	if err != nil {
		t.Fatal(err)
	}
	resume, err := ResumeService(b.in, binary, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.runSteps([]plan.Step{resume, agent}, nil); err != nil {
		t.Fatal(err)
	}
	a, r := b.defined("pipeops-agent"), b.defined("pipeops-agent-resume")
	if !slices.Equal(a.Argv, []string{binary, "run"}) || !a.Private || a.Watchdog != 30 || !slices.Contains(a.After, "k3s") || !strings.HasPrefix(a.Needs, b.in.Dir) {
		t.Errorf("%+v", a)
	}
	if !r.Once || !slices.Equal(r.Success, []int{11, 13, 75}) || r.Argv[1] != "resume" || r.Needs != b.in.Dir+"/resume.json" {
		t.Errorf("%+v", r)
	}
	for _, bad := range []string{"", "agent"} {
		if _, err := AgentService(b.in, bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// endingUnits is a supervisor that is asked to end.
type endingUnits struct {
	*fakeUnits
	says  []supervise.Overview // one after another
	asked int
}

func (e *endingUnits) Finish(context.Context) (supervise.Overview, error) {
	o := e.says[min(e.asked, len(e.says)-1)]
	e.asked++
	return o, nil
}

func TestSupervisorIsStartedAndAskedToEnd(t *testing.T) {
	runs := supervise.Overview{PID: 7}
	busy := supervise.Overview{PID: 7, Services: []supervise.Status{{Name: "pipeops-agent-resume", PID: 8}}}
	for name, tt := range map[string]struct {
		says  []supervise.Overview
		asked int
		left  int
	}{
		"ends":                       {[]supervise.Overview{runs, runs, {}}, 3, 0},
		"runs the uninstall":         {[]supervise.Overview{busy}, 1, 0},
		"first process of container": {[]supervise.Overview{{PID: 1, Stays: true}}, 1, 1},
	} {
		b := newSupervisedBench(t)
		units := &endingUnits{fakeUnits: b.units, says: tt.says}
		b.in.Units = units
		started := 0
		answers := false
		step := Supervisor(b.in, SupervisorSetup{
			Answers: func(context.Context) bool { return answers },
			Ensure:  func(context.Context) error { started++; answers = true; return nil },
		})
		for range 2 {
			if _, err := b.runSteps([]plan.Step{step}, nil); err != nil {
				t.Fatal(err)
			}
		}
		if started != 1 {
			t.Errorf("%s: started %d times", name, started)
		}
		left, err := b.in.Undo()[supervisorStarted](t.Context(), plan.Record{})
		if err != nil || units.asked != tt.asked || len(left) != tt.left {
			t.Errorf("%s: %v, asked %d times, %v", name, left, units.asked, err)
		}
	}
}
