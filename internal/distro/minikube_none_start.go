package distro

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/host"
)

// startMinikubeNone starts the node: minikube enables no kubelet at boot, since its start first writes what the kubelet reads. On one
// that runs it changes nothing.
func (in Install) startMinikubeNone(ctx context.Context, tell func(string)) error {
	b, err := in.bareMinikube()
	if err != nil {
		return err
	}
	tell("waiting for the engine")
	if err := b.awaitEngine(ctx); err != nil {
		return err
	}
	tell("starting the node by minikube")
	if err := b.bringUp(ctx); err != nil {
		return err
	}
	if err := b.renew(ctx); err != nil {
		return err
	}
	tell("waiting for the API")
	return b.answered(ctx)
}

// renew takes over a kubeconfig that minikube has written anew, as it does when its certificate has ended. One that never was is left
// to the install.
func (b bareMinikube) renew(ctx context.Context) error {
	file := b.path(b.nodes.kubeconfigFile())
	have, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	text, err := b.administrator(ctx)
	if err != nil || bytes.Equal(have, text) {
		return err
	}
	return atomicfile.Write(file, 0o600, text)
}

// stopMinikubeNone stops the kubelet, and the containers of pods.
func (in Install) stopMinikubeNone(ctx context.Context) error {
	b, err := in.bareMinikube()
	if err != nil {
		return err
	}
	if _, err := b.call(ctx, minikubeStop, "stop", "--profile="+host.MinikubeProfile); err != nil {
		return fmt.Errorf("cannot stop the node: %w", b.causeOf(err))
	}
	return nil
}

// kubelet returns how the kubelet is: "running", "stopped". minikube ends with an error where it does not run, and says so all the same.
func (b bareMinikube) kubelet(ctx context.Context) (string, error) {
	out, failed := b.call(ctx, minikubeStatus, "status", "--profile="+host.MinikubeProfile, "--output=json")
	var status struct{ Kubelet string }
	if err := json.Unmarshal(bytes.TrimSpace(out), &status); err != nil {
		return "", fmt.Errorf("cannot ask minikube how the node is: %w", b.causeOf(cmp.Or(failed, err)))
	}
	return strings.ToLower(status.Kubelet), nil
}

// lookAtMinikubeNone returns how the node is now.
func (in Install) lookAtMinikubeNone(ctx context.Context) (ClusterState, error) {
	b, err := in.bareMinikube()
	if err != nil {
		return ClusterState{}, err
	}
	kubelet, err := b.kubelet(ctx)
	if err != nil {
		return ClusterState{}, err
	}
	s := ClusterState{
		Distro: Minikube, Name: host.MinikubeProfile, Logs: "journalctl -u " + kubeletUnit,
		Nodes: []NodeState{{Name: "this machine", Role: "control-plane", State: kubelet}},
		API:   APIState{Address: fmt.Sprintf("127.0.0.1:%d", b.APIPort)},
	}
	if err := b.apiAnswers(ctx); err != nil {
		s.API.Error = err.Error()
		return s, nil
	}
	s.API.Answers = true
	return s, nil
}
