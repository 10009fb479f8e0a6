package distro

import (
	"context"
	"path/filepath"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/artifact"
	"github.com/pipeopshq/pipeops-agent/internal/command"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

// K3sVersion is the version that is installed when none is asked for.
const K3sVersion = "v1.33.2+k3s1"

// Install is what the steps of a distribution need to know.
type Install struct {
	Root string // below it lie the files of the machine; "" means the machine itself
	Dir  string // the agent's state folder, below no root: downloads, and what was last started

	Version   string              // of the distribution; "" means the default
	Arch      string              // as Go names it
	Manifests *artifact.Manifests // what may be installed, and the mirrors; nil means that nobody is trusted to say so
	Fetcher   *artifact.Fetcher   // nil: one with defaults

	Proxy Proxies // see [FindProxies]; the zero value is none

	ClusterInit bool      // k3s keeps its state in an etcd of its own, which further servers can join
	Join        *JoinInfo // the machine becomes a node of a cluster that is there; nil: it gets a cluster of its own

	NodeName    string   // "" means the host's name
	TLSNames    []string // further names and addresses in the API server's certificate
	Disable     []string // components of k3s that are left out: traefik, servicelb, ...
	KubeletArgs []string // name=value
	ResolvConf  []byte   // resolv.conf for pods; nil lets k3s find one

	// Of clusters whose nodes are containers.
	Nodes   int    // how many of them serve the API; 0 means one
	Workers int    // further ones
	APIPort int    // of the API on this machine; 0 means one that is free, and then stays
	Program string // path of this program, for the unit that starts them; "" means /usr/bin/pipeops-agent
	// MinikubeForce lets root run minikube, with --force, in place of a user of its own.
	MinikubeForce bool
	EngineSocket  string // full path; "" means that of the engine of this machine

	kubeProxyArgs []string // name=value, that remedies ask for

	Remedies []Remedy // that the decision found to be needed, all consented to

	OpenRC     bool // services are OpenRC's, not systemd's
	Supervised bool // they are run by pipeops-agent itself
	// Ready asks k3s under OpenRC, which cannot tell, whether it is of use already; nil means that its API server is asked.
	Ready func(ctx context.Context) error
	// Units is systemd, OpenRC or the supervisor; nil only where the steps are shown and not run.
	Units Units
	// Shown says that the steps are for a plan: the download tells what it would fetch. Without Units it does so anyway.
	Shown bool
	// LastWords returns the last lines that a unit logged; nil means journalctl, or the end of its log where it has one.
	LastWords func(ctx context.Context, name string) string
	// Look looks at the machine as it is now, for a diagnosis; nil means that nothing is known of it.
	Look func(ctx context.Context) host.Facts
	// Suspect is told what may keep a cluster that is waited for from being ready; nil means that nobody wants to know.
	Suspect func(Diagnosis)
	// FreePackages waits until nobody else uses the package manager; nil means that its own patience must do.
	FreePackages func(ctx context.Context) error
	// Run runs a program to its end and returns its output; nil means command.Run.
	Run func(ctx context.Context, limit time.Duration, argv ...string) ([]byte, error)
}

// Units is what steps need of systemd: a [unit.Manager], OpenRC or a supervisor in its place, or a machine in a test.
type Units interface {
	Reload(ctx context.Context) error
	Enable(ctx context.Context, name string) error
	Disable(ctx context.Context, name string) error
	RestartNoWait(ctx context.Context, name string) error
	Stop(ctx context.Context, name string) error
	ResetFailed(ctx context.Context, name string) error
	StopAll(ctx context.Context, name string) error
	State(ctx context.Context, name string) (unit.State, error)
	WaitActive(ctx context.Context, name string) error
}

// path is where a file of the machine lies.
func (in Install) path(target string) string { return filepath.Join(in.Root, target) }

// run runs a program that is done at once: the limit is for a machine under load.
func (in Install) run(ctx context.Context, argv ...string) ([]byte, error) {
	return in.runFor(ctx, time.Minute, argv...)
}

// change runs a program that changes the machine. It is not killed in the middle when the install is stopped.
func (in Install) change(ctx context.Context, argv ...string) error {
	return in.changeFor(ctx, time.Minute, argv...)
}

func (in Install) changeFor(ctx context.Context, limit time.Duration, argv ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := in.runFor(context.WithoutCancel(ctx), limit, argv...)
	return err
}

func (in Install) runFor(ctx context.Context, limit time.Duration, argv ...string) ([]byte, error) {
	if in.Run != nil {
		return in.Run(ctx, limit, argv...)
	}
	return command.Run(ctx, limit, argv...)
}
