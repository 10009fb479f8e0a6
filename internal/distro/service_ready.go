package distro

import (
	"context"
	"fmt"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
)

const (
	k3sKubeconfig = "/etc/rancher/k3s/k3s.yaml"
	// readyEvery is how often a service is asked whether it is ready.
	readyEvery = 500 * time.Millisecond
	// readyAnswer is how long one answer may take.
	readyAnswer = 5 * time.Second
)

// waitReady waits until the running service is of use, and fails as soon as it runs no more.
func (s service) waitReady(ctx context.Context) error {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		err := s.ready(ctx)
		if err == nil {
			return nil
		}
		state, stateErr := s.Units.State(ctx, s.name)
		if stateErr != nil {
			return stateErr
		}
		if state.Active != "active" || state.Restarts > 0 {
			return fmt.Errorf("%s has ended before it was ready: it is %s (%s)", s.name, state.Active, state.Sub)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s runs and is not ready: %w: %w", s.name, ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// answers asks the API server of k3s, which is what systemd is told of when k3s calls itself ready.
func (k *k3sInstall) answers(ctx context.Context) error {
	if k.Ready != nil {
		return k.Ready(ctx)
	}
	client, err := cluster.Connect(k.path(k3sKubeconfig))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyAnswer)
	defer cancel()
	return client.Ready(ctx)
}
