package distro

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// bareMinikube is a cluster of minikube's driver none on this machine. What it has in common with those whose nodes are containers are
// the program, the file with its arguments, the engine and the unit.
type bareMinikube struct{ *nodeCluster }

func (in Install) bareMinikube() (bareMinikube, error) {
	n, err := minikubeNoneNode().cluster(in)
	if err != nil {
		return bareMinikube{}, err
	}
	n.APIPort = cmp.Or(n.APIPort, n.keptPort(), minikubeNonePort)
	return bareMinikube{n}, nil
}

// minikubeNoneSteps returns the steps that make the machine a node of minikube, in the order of their execution.
func minikubeNoneSteps(in Install) ([]plan.Step, error) {
	b, err := in.bareMinikube()
	if err != nil {
		return nil, err
	}
	if in.OpenRC || in.Supervised {
		return nil, reason.Newf(reason.HostNoSystemd, "minikube's driver none starts the kubelet by systemd")
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	machine := &k3sInstall{Install: b.Install, fetcher: b.fetcher, manifests: b.manifests, settings: map[string]any{}, limits: limits()}
	early, late, err := machine.applyRemedies()
	if err != nil {
		return nil, err
	}
	b.KubeletArgs, b.kubeProxyArgs = machine.KubeletArgs, machine.kubeProxyArgs
	b.engineUnit = cmp.Or(machine.engineUnit, b.installedEngine())
	download, err := b.download()
	if err != nil {
		return nil, err
	}
	unit, err := b.startUnit()
	if err != nil {
		return nil, err
	}
	config := b.config()
	download.Prepare = b.unchanged(download.Prepare)
	config.Prepare = b.unchanged(nil)
	steps := append(early, b.engineRuns(), download, b.tool(), machine.sysctl())
	steps = append(steps, late...)
	return append(steps, config, b.userMade(), b.runtime(), b.node(), unit), nil
}

// unchanged refuses what cannot be changed in a cluster that is there, and then goes on with what is next; nil is nothing.
func (b bareMinikube) unchanged(next func(context.Context, func(done, total int64)) error) func(context.Context, func(done, total int64)) error {
	return func(ctx context.Context, progress func(done, total int64)) error {
		if err := b.fixed(); err != nil || next == nil {
			return err
		}
		return next(ctx, progress)
	}
}

// fixed tells what differs from how the cluster was made. minikube would take other arguments for one that is there, and makes of some
// of them half a change (its start.go, updateExistingConfigFromFlags).
func (b bareMinikube) fixed() error {
	was, err := os.ReadFile(b.path(b.nodes.configFile()))
	if err != nil || !b.madeByNone(Minikube) {
		return nil
	}
	want, err := b.configText()
	if err != nil || bytes.Equal(was, want) {
		return err
	}
	var differ []string
	old := slices.Collect(strings.Lines(string(was)))
	for line := range strings.Lines(string(want)) {
		if !slices.Contains(old, line) {
			differ = append(differ, strings.TrimLeft(strings.TrimSpace(line), "- "))
		}
	}
	for _, line := range old {
		if !strings.Contains("\n"+string(want), "\n"+line) {
			differ = append(differ, "no "+strings.TrimLeft(strings.TrimSpace(line), "- "))
		}
	}
	return reason.Newf(reason.ClusterFixed, "minikube, with the driver none: %s", strings.Join(differ, ", "))
}

// runtime enables and starts the sockets by which Docker is asked, as minikube does too, so that an undo knows how they were.
func (b bareMinikube) runtime() plan.Step {
	enabled := []string{dockerSockets, criSocketUnit}
	return plan.Step{
		ID: "minikube-runtime", Title: "Let Docker be asked by CRI, now and at every boot",
		Changes: []string{criSocketUnit + " (enabled, started)", dockerSockets + " (enabled)"},
		Done: func(ctx context.Context) (bool, error) {
			for _, name := range enabled {
				state, err := b.Units.State(ctx, name)
				if err != nil || state.File != "" && !state.Enabled() {
					return false, err
				}
			}
			state, err := b.Units.State(ctx, criSocketUnit)
			return state.Active == "active", err
		},
		Do: func(ctx context.Context, r *plan.Recorder) error {
			for _, name := range enabled {
				state, err := b.Units.State(ctx, name)
				if err != nil {
					return err
				}
				if state.File == "" || state.Enabled() { // the packages of some distributions have no socket of Docker
					continue
				}
				if err := r.Note(unitEnabled, name, state.File, "enabled", func() error { return b.Units.Enable(ctx, name) }); err != nil {
					return err
				}
			}
			for _, name := range []string{criDockerUnit, criSocketUnit} {
				state, err := b.Units.State(ctx, name)
				if err != nil {
					return err
				}
				if state.Active == "active" {
					continue
				}
				start := func() error {
					return errors.Join(b.Units.ResetFailed(ctx, name), b.Units.RestartNoWait(ctx, name))
				}
				if name == criDockerUnit { // which the socket starts
					start = func() error { return nil }
				}
				if err := r.Note(unitStarted, name, "inactive", "active", start); err != nil {
					return err
				}
			}
			return nil
		},
		Prove: func(ctx context.Context) error { return b.Units.WaitActive(ctx, criSocketUnit) },
	}
}

// node makes the machine a node. It is begun by minikube's start, and by the same it goes on where it was stopped.
func (b bareMinikube) node() plan.Step {
	changes := append(minikubeNoneTrees(), minikubeNoneFiles()...)
	changes = append(changes, minikubeNoneShared()...)
	return plan.Step{
		ID: "minikube-cluster", Title: "Make the machine a node by minikube", Timeout: clusterMake + clusterStartUp,
		Changes: append(changes, hostsFile, b.nodes.kubeconfigFile(), "images and containers of Kubernetes in Docker, which is started anew"),
		Done: func(ctx context.Context) (bool, error) {
			if !b.madeByNone(Minikube) || !b.hasKubeconfig() {
				return false, nil
			}
			state, err := b.Units.State(ctx, kubeletUnit)
			return state.Active == "active", err
		},
		Do: func(ctx context.Context, r *plan.Recorder) error {
			if _, ours := r.Recorded(minikubeNode, minikubeNoneTarget()); !ours {
				if err := b.begin(ctx, r); err != nil {
					return err
				}
			}
			if err := b.bringUp(ctx); err != nil {
				return err
			}
			text, err := b.administrator(ctx)
			if err != nil {
				return err
			}
			return r.WriteFile(b.nodes.kubeconfigFile(), 0o600, text)
		},
		Prove: func(ctx context.Context) error { return b.answered(ctx) },
	}
}

// bringUp lets minikube start, unless its kubelet and its API are there already: its start has Docker started anew, and with it what
// others run.
func (b bareMinikube) bringUp(ctx context.Context) error {
	if b.hasKubeconfig() && b.apiAnswers(ctx) == nil {
		if kubelet, err := b.kubelet(ctx); err == nil && kubelet == "running" {
			return nil
		}
	}
	args, err := b.createArgs()
	if err != nil {
		return err
	}
	if _, err := b.call(ctx, clusterMake, args...); err != nil {
		return fmt.Errorf("cannot make the node: %w", b.causeOf(err))
	}
	return b.written()
}

// administrator returns the kubeconfig as minikube has it, at the address of this machine that stays.
func (b bareMinikube) administrator(ctx context.Context) ([]byte, error) {
	text, err := b.copied(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot get the kubeconfig: %w", err)
	}
	return readdressed(text, "127.0.0.1:"+strconv.Itoa(b.keptPort()))
}

// answered waits until the API answers.
func (b bareMinikube) answered(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, clusterStartUp)
	defer cancel()
	return until(ctx, func() error {
		if err := b.apiAnswers(ctx); err != nil {
			return fmt.Errorf("the API of minikube does not answer: %w", err)
		}
		return nil
	})
}

// startUnit starts the node at boot. It does not go with Docker as that of a cluster in containers does: minikube's start has Docker
// started anew, and systemd would stop the unit in the middle of it.
func (b bareMinikube) startUnit() (plan.Step, error) {
	s, err := b.clusterService("")
	if err != nil {
		return plan.Step{}, err
	}
	for _, key := range []string{"After=", "Wants="} {
		s.content = bytes.ReplaceAll(s.content, []byte("\n"+key), []byte("\n"+key+cmp.Or(b.engineUnit, dockerUnit)+" "+criSocketUnit+" "))
	}
	s.content = bytes.ReplaceAll(s.content, []byte("the cluster whose nodes are containers"), []byte("the node of minikube on this machine"))
	s.inputs = func() (string, error) { return minikubeNoneTarget(), nil }
	return s.step(), nil
}

// How long minikube may take to stop the node, and to say how it is.
const (
	minikubeStop   = 4 * time.Minute
	minikubeStatus = time.Minute
)
