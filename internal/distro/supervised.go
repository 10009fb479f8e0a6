package distro

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/remains"
	"github.com/pipeopshq/pipeops-agent/internal/supervise"
)

const (
	// SupervisorStep is the id of the step of Supervisor.
	SupervisorStep = "supervisor"
	// SupervisorLog is where a supervisor writes that was not started with a log of its own.
	SupervisorLog = "/var/log/pipeops-agent-supervisor.log"
	// supervisorName is how the first process of a machine is called where it is one.
	supervisorName = "pipeops-agent"

	supervisorStarted plan.Kind = "supervisor-started"
	// serviceTraces is the kind of what a service leaves under a supervisor: its logs. The target is the name of the service.
	serviceTraces plan.Kind = "service-traces"

	// superviseCommand is what has to be started with the machine, and returns at once.
	superviseCommand = "pipeops-agent run --supervise --background"
)

// Supervised reports whether services are ours to run: it is known that neither systemd nor OpenRC does.
func Supervised(f host.Facts) bool {
	systemd, ok := f.Init.Systemd.Get()
	return ok && !systemd && !OpenRC(f) && (f.OS.Kind == "" || f.OS.Kind == "linux")
}

// On returns the settings for a machine: who runs its services.
func (in Install) On(f host.Facts) Install {
	in.OpenRC, in.Supervised = OpenRC(f), Supervised(f)
	return in
}

// AtBoot says what has to be entered where, so that the supervisor starts with this machine; "" where it does so.
func AtBoot(f host.Facts) string {
	if f.Init.Name == supervisorName {
		return ""
	}
	container, inside := f.Virtualization.Container()
	switch {
	case f.Virtualization.WSL.Value == 2 && !inside:
		return "better put the lines [boot] and systemd=true into /etc/wsl.conf before an install, then in PowerShell: wsl --shutdown; " +
			"or, without systemd, [boot] and command=" + superviseCommand
	case inside:
		return "start the " + container + " container with pipeops-agent run --supervise as its command"
	case strings.HasPrefix(f.Init.Name, "runit"):
		return "a line in /etc/rc.local, which runit runs at boot: " + superviseCommand
	}
	return "a line in /etc/rc.local, or whatever your init runs at boot: " + superviseCommand
}

// underSupervisor makes the unit a service of the supervisor.
func (s service) underSupervisor(d supervise.Service) (service, error) {
	d.Name = supervise.Name(s.name)
	d.Log = "/var/log/" + d.Name + ".log"
	content, err := d.Encode()
	if err != nil {
		return s, err
	}
	s.kind = "service " + d.Name + " of pipeops-agent run --supervise"
	s.target, s.mode, s.content = supervise.File(supervise.Folder(s.Dir), d.Name), 0o600, content
	s.log = d.Log
	return s, nil
}

// supervisedK3s is k3s, as its unit has it.
func (k *k3sInstall) supervisedK3s() supervise.Service {
	role := "server"
	if k.worker() {
		role = "agent"
	}
	return supervise.Service{
		Title: "Lightweight Kubernetes", Argv: []string{k.binaryPath(), role},
		EnvFiles: []string{k.asWorker("/etc/default/k3s"), k3sOpenRCEnv},
		Modules:  []string{"br_netfilter", "overlay"},
		Shared:   slices.ContainsFunc(k.Remedies, func(r Remedy) bool { return r.ID == RemedySharedRoot }),
		Notify:   true, Alone: true, Grace: 60,
	}
}

// supervisedAgent is the agent, as its unit has it.
func supervisedAgent(in Install, binary string) supervise.Service {
	return supervise.Service{
		Title: "PipeOps agent: the tunnel between this machine's cluster and its gateway", Argv: []string{binary, "run"},
		After: []string{"k3s", "k3s-agent", "pipeops-agent-cluster"}, Needs: filepath.Join(in.Dir, "identity", "identity.json"),
		Folders: []string{supervise.RunDir}, Private: true, Notify: true, Watchdog: 30, Grace: 20,
	}
}

// supervisedCluster starts a cluster whose nodes are containers, as its unit has it. The engine is somebody else's to start: it is
// waited for.
func supervisedCluster(binary string) supervise.Service {
	return supervise.Service{
		Title: "PipeOps agent: the cluster whose nodes are containers", Argv: []string{binary, "cluster", "start"}, Stop: []string{binary, "cluster", "stop"},
		Once: true, Remains: true, Private: true, Grace: 300,
	}
}

// supervisedCredential makes a new credential whenever the agent asks for one, as the two units of that have it.
func supervisedCredential(in Install, binary string) supervise.Service {
	return supervise.Service{
		Title: "PipeOps agent: a new credential for the agent's account in its cluster", Argv: []string{binary, "access", "renew"},
		Once: true, When: filepath.Join(in.Dir, "credential.request"), Needs: filepath.Join(in.Dir, "identity", "identity.json"), Private: true, Grace: 240,
	}
}

// supervisedResume goes on with what is unfinished, as its unit has it.
func supervisedResume(in Install, binary string) supervise.Service {
	return supervise.Service{
		Title: "PipeOps agent: goes on with an install that was interrupted", Argv: []string{binary, "resume", "--console"},
		Needs: filepath.Join(in.Dir, "resume.json"), Private: true, Once: true, Success: []int{11, 13, 75}, Grace: 300,
	}
}

// SupervisorSetup is how a supervisor is asked for, and started.
type SupervisorSetup struct {
	Answers func(ctx context.Context) bool
	Ensure  func(ctx context.Context) error
}

// Supervisor returns the step that starts the supervisor of the services, unless one runs. It is the first of all: the others
// need it; and its end is the last that an uninstall asks for, since that may run below it.
func Supervisor(in Install, setup SupervisorSetup) plan.Step {
	return plan.Step{
		ID: SupervisorStep, Title: "Run the services", Timeout: time.Minute,
		Changes: []string{"pipeops-agent run --supervise (started, unless it runs)", SupervisorLog},
		Done:    func(ctx context.Context) (bool, error) { return setup.Answers(ctx), nil },
		Do: func(ctx context.Context, r *plan.Recorder) error {
			if err := in.expectLogs(ctx, r, "pipeops-agent-supervisor"); err != nil {
				return err
			}
			if err := r.Own(supervise.RunDir); err != nil {
				return err
			}
			return r.Note(supervisorStarted, "pipeops-agent run --supervise", "inactive", "active", func() error { return setup.Ensure(ctx) })
		},
	}
}

// logs are those of a service.
func (in Install) logs(name string) remains.Thing {
	return in.remains("").Matching(string(serviceTraces), "logs of "+name, "/var/log/"+name+".log*")
}

func (in Install) expectLogs(ctx context.Context, r *plan.Recorder, name string) error {
	before, err := in.logs(name).List(ctx)
	if err != nil {
		return err
	}
	return r.Expect(serviceTraces, name, before)
}

// finisher is a service manager that ends by itself when nothing is left to do.
type finisher interface {
	Finish(ctx context.Context) (supervise.Overview, error)
}

// finishLimit is how long a supervisor may take to end once nothing runs.
const finishLimit = 10 * time.Second

// finish undoes the start of the supervisor. One that still runs this very uninstall ends after it.
func (in Install) finish(ctx context.Context, _ plan.Record) ([]string, error) {
	f, ok := in.Units.(finisher)
	if !ok {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, finishLimit)
	defer cancel()
	for {
		o, err := f.Finish(ctx)
		switch {
		case err != nil:
			return nil, err
		case o.Stays:
			return []string{fmt.Sprintf("process %d: pipeops-agent run --supervise is the first process of this container, and ends with it", o.PID)}, nil
		case o.PID == 0, slices.ContainsFunc(o.Services, func(s supervise.Status) bool { return s.PID != 0 }):
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
