package distro

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/artifact"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/engine"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const (
	// clusterStartUp is how long a cluster in containers may take until its API answers: as long as a k3s on the machine itself.
	clusterStartUp = k3sStartUp
	// clusterMake is how long its making may take: each node unpacks its images.
	clusterMake = 20 * time.Minute
	// engineStartUp is how long an engine may take to answer: one that has many containers to start again takes a minute.
	engineStartUp = 3 * time.Minute
)

// nodeCluster is a cluster whose nodes are containers, on this machine, with what its steps share.
type nodeCluster struct {
	Install
	nodes     nodeContainers
	manifests *artifact.Manifests
	fetcher   *artifact.Fetcher

	engineUnit string // what starts the engine; "" where that is no service of this machine
}

// steps returns the steps that make the cluster, in the order of their execution.
func (d nodeContainers) steps(in Install) ([]plan.Step, error) {
	n, err := d.cluster(in)
	if err != nil {
		return nil, err
	}
	if err := n.check(); err != nil {
		return nil, err
	}
	// what remedies change on the machine is the same as for a k3s on the machine itself
	machine := &k3sInstall{Install: n.Install, fetcher: n.fetcher, manifests: n.manifests, settings: map[string]any{}, limits: limits()}
	early, late, err := machine.applyRemedies()
	if err != nil {
		return nil, err
	}
	n.KubeletArgs = machine.KubeletArgs
	n.kubeProxyArgs = machine.kubeProxyArgs
	n.engineUnit = cmp.Or(machine.engineUnit, n.installedEngine())
	steps := []plan.Step{}
	if len(machine.packageNames) > 0 {
		steps = append(steps, n.engineFolders())
	}
	steps = append(steps, early...)
	steps = append(steps, n.engineRuns())
	download, err := n.download()
	if err != nil {
		return nil, err
	}
	steps = append(steps, download, n.images(), n.tool(), machine.sysctl()) // images first: a registry may not answer, and then no program stays
	steps = append(steps, late...)
	unit, err := n.unit()
	if err != nil {
		return nil, err
	}
	steps = append(steps, n.config())
	if n.nodes.user != "" {
		steps = append(steps, n.userMade())
	}
	return append(steps, n.made(), unit), nil
}

// cluster fills in what the steps need.
func (d nodeContainers) cluster(in Install) (*nodeCluster, error) {
	if in.Version == "" {
		in.Version = K3sVersion
	}
	n := &nodeCluster{Install: in, nodes: d, manifests: in.Manifests, fetcher: in.Fetcher}
	if n.fetcher == nil {
		n.fetcher = &artifact.Fetcher{Client: artifact.NewClient(in.Proxy.Proxy)}
	}
	if n.manifests == nil {
		n.manifests = &artifact.Manifests{}
	}
	return n, nil
}

// The bounds of how many nodes a cluster on one machine has: each takes some 500 MiB.
const (
	maxServers = 7 // of etcd, which advises no more
	maxWorkers = 32
)

// check finds what cannot be, before anything is changed.
func (n *nodeCluster) check() error {
	switch {
	case !regexp.MustCompile(`^v1\.[0-9]{1,3}\.[0-9]{1,3}[A-Za-z0-9.+-]{0,32}$`).MatchString(n.Version):
		return reason.Newf(reason.Usage, "%q is no version of Kubernetes, such as v1.33.2+k3s1", n.Version)
	case n.Arch != "amd64" && n.Arch != "arm64":
		return reason.Newf(reason.HostArch, "%s has no release for %s", n.nodes.name, n.Arch)
	case n.Nodes < 0 || n.Nodes > maxServers || n.Nodes > 0 && n.Nodes%2 == 0:
		return reason.Newf(reason.Usage, "--nodes %d: 1, 3, 5 or 7 nodes can serve the API: an even number fails as soon as one less", n.Nodes)
	case n.Workers < 0 || n.Workers > maxWorkers:
		return reason.Newf(reason.Usage, "--workers %d: 0 to %d are possible", n.Workers, maxWorkers)
	case n.nodes.single && (n.Nodes > 1 || n.Workers > 0):
		return reason.Newf(reason.Usage, "%s makes one node here, not %d and %d", n.nodes.name, n.servers(), n.Workers).WithFix("choose --distro k3d or kind, or leave --nodes and --workers out")
	case n.APIPort < 0 || n.APIPort > 65535:
		return reason.Newf(reason.Usage, "--api-port %d is no port", n.APIPort)
	}
	if err := n.Proxy.Check(); err != nil {
		return reason.New(reason.Usage, err.Error(), nil)
	}
	if n.Units != nil { // else the steps are only shown
		return errors.Join(n.userCanBe(), n.manifests.Ready())
	}
	return nil
}

// answers asks the engine whether it is there.
func (n *nodeCluster) answers(ctx context.Context) error {
	c, err := n.engine(ctx)
	if err == nil {
		c.Close()
	}
	return err
}

// engineRuns starts the engine, now and at every boot. One that is no service of this machine (that of Docker Desktop, or one
// whose socket was mounted) has only to answer.
func (n *nodeCluster) engineRuns() plan.Step {
	return plan.Step{
		ID: "engine", Title: "Make sure the container engine runs", Timeout: engineStartUp,
		Changes: n.engineChanges(),
		Done: func(ctx context.Context) (bool, error) {
			if n.answers(ctx) != nil {
				return false, nil
			}
			if n.engineUnit == "" {
				return true, nil
			}
			state, err := n.Units.State(ctx, n.engineUnit)
			return err == nil && (state.File == "" || state.Enabled()), err
		},
		Do: func(ctx context.Context, r *plan.Recorder) error {
			if n.engineUnit == "" {
				return nil // it is only waited for
			}
			engineUnit := n.engineUnit
			state, err := n.Units.State(ctx, engineUnit)
			if err != nil {
				return err
			}
			if !state.Enabled() && state.File != "" {
				if err := r.Note(unitEnabled, engineUnit, state.File, "enabled", func() error { return n.Units.Enable(ctx, engineUnit) }); err != nil {
					return err
				}
			}
			if n.answers(ctx) == nil || state.Active == "active" || state.Starting() {
				return nil // it is waited for: a restart would end all that runs in it
			}
			return r.Note(unitStarted, engineUnit, "inactive", "active", func() error {
				return errors.Join(n.Units.ResetFailed(ctx, engineUnit), n.Units.RestartNoWait(ctx, engineUnit))
			})
		},
		Prove: func(ctx context.Context) error { return n.awaitEngine(ctx) },
	}
}

// pollEvery is how often an engine, or a container, that is waited for is asked.
const pollEvery = 300 * time.Millisecond

// awaitEngine waits until the engine answers.
func (in Install) awaitEngine(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, engineStartUp)
	defer cancel()
	return until(ctx, func() error {
		c, err := in.engine(ctx)
		if err != nil {
			return in.silent(err)
		}
		c.Close()
		return nil
	})
}

// until asks until there is no error, and returns the last one if there is one to the end.
func until(ctx context.Context, ask func() error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var last error
	for {
		err := ask()
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil { // the one that the end of the time has cut says only that
			last = err
		}
		select {
		case <-ctx.Done():
			return last
		case <-tick.C:
		}
	}
}

// config writes the file that the cluster is made by. A port that was chosen once stays.
func (n *nodeCluster) config() plan.Step {
	file := n.nodes.configFile()
	return plan.Step{
		ID: n.nodes.name + "-config", Title: "Write down how the cluster is made",
		Changes: []string{file},
		Done: func(context.Context) (bool, error) {
			text, err := n.configText()
			if err != nil || text == nil {
				return false, err
			}
			return sameFile(n.path(file), 0o600, text)
		},
		Prepare: func(ctx context.Context, _ func(done, total int64)) error { return n.changeable(ctx) },
		Do: func(ctx context.Context, r *plan.Recorder) error {
			text, err := n.configText()
			if err != nil {
				return err
			}
			if text == nil {
				port, err := n.freePort()
				if err != nil {
					return err
				}
				if text, err = n.configFor(port); err != nil {
					return err
				}
			}
			return r.WriteFile(file, 0o600, text)
		},
	}
}

// configText is the file as it should be; nil where no port is known yet.
func (n *nodeCluster) configText() ([]byte, error) {
	port := n.APIPort
	if port == 0 {
		port = n.keptPort()
	}
	if port == 0 {
		return nil, nil
	}
	return n.configFor(port)
}

// keptPort is the port of the file that is there, 0 without one.
func (n *nodeCluster) keptPort() int {
	text, err := os.ReadFile(n.path(n.nodes.configFile()))
	if err != nil {
		return 0
	}
	return n.nodes.port(text)
}

func (n *nodeCluster) configFor(port int) ([]byte, error) {
	text, err := n.nodes.config(n.Install, port)
	if err != nil {
		return nil, fmt.Errorf("cannot write the configuration of %s: %w", n.nodes.name, err)
	}
	return append([]byte(ownMarker+". A cluster stays as it was made: changes here are lost.\n"), text...), nil
}

// changeable refuses what cannot be changed in a cluster that is there.
func (n *nodeCluster) changeable(ctx context.Context) error {
	was, err := os.ReadFile(n.path(n.nodes.configFile()))
	if err != nil || !n.recorded(n.nodes.target()) {
		return nil
	}
	nodes, err := n.containers(ctx)
	if err != nil || len(nodes) == 0 {
		return nil // it is made anew
	}
	want, err := n.configText()
	if err != nil || want == nil {
		return err
	}
	var differ []string
	old := slices.Collect(strings.Lines(string(was)))
	for line := range strings.Lines(string(want)) {
		if !slices.Contains(old, line) && !n.grows(line) {
			differ = append(differ, strings.TrimSpace(line))
		}
	}
	for _, line := range old {
		if !strings.Contains("\n"+string(want), "\n"+line) && !n.grows(line) {
			differ = append(differ, "no "+strings.TrimSpace(line))
		}
	}
	if have := n.count(nodes, n.nodes.worker); n.Workers < have {
		differ = append(differ, fmt.Sprintf("%d workers in place of %d, with whose volumes data would be lost", n.Workers, have))
	} else if n.Workers > have && n.nodes.addWorker == nil {
		differ = append(differ, fmt.Sprintf("%d workers in place of %d", n.Workers, have))
	}
	if len(differ) == 0 {
		return nil
	}
	return reason.Newf(reason.ClusterFixed, "%s %s: %s", n.nodes.name, ClusterName, strings.Join(differ, ", "))
}

// grows reports whether the line of a configuration says how many workers there are, which is looked at by itself.
func (n *nodeCluster) grows(line string) bool {
	return n.nodes.workerLine != nil && n.nodes.workerLine.MatchString(line)
}

// freePort finds a port for the API: that of Kubernetes, or else one that nobody listens on.
func (n *nodeCluster) freePort() (int, error) {
	for _, port := range append([]int{6443}, spread(6550, 50)...) {
		if free(port) {
			return port, nil
		}
	}
	return 0, reason.New(reason.NetPortTaken, "6443 and "+strconv.Itoa(6550)+" to "+strconv.Itoa(6599), nil).WithFix("name a port that is free by --api-port")
}

func spread(first, count int) []int {
	all := make([]int, count)
	for i := range all {
		all[i] = first + i
	}
	return all
}

// engineOf connects, and says for people what is the matter where it cannot.
func (n *nodeCluster) engineOf(ctx context.Context) (*engine.Client, error) {
	c, err := n.engine(ctx)
	if err != nil {
		return nil, n.silent(err)
	}
	return c, nil
}
