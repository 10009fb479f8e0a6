package cluster

import (
	"context"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// How often a layer is asked, and how long one question may take.
const (
	pollEvery   = 200 * time.Millisecond
	pollTimeout = 5 * time.Second
)

// Until asks a layer again and again until it works or ctx ends. Then it returns CLUSTER_UNHEALTHY with the last answer.
func Until(ctx context.Context, source *Source, layer Layer) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var last error
	for {
		if err := ask(ctx, source, layer); err == nil {
			return nil
		} else if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return reason.New(reason.ClusterUnhealthy, layer.ID+": "+last.Error(), ctx.Err())
		case <-tick.C:
		}
	}
}

func ask(ctx context.Context, source *Source, layer Layer) error {
	client, err := source.Client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	return layer.Check(ctx, client)
}
