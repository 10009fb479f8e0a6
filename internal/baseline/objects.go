package baseline

import (
	"context"
	"errors"

	"github.com/pipeopshq/pipeops-agent/internal/engine"
	"github.com/pipeopshq/pipeops-agent/internal/host"
)

// objects lists what is in the engine that the probes have seen to answer. One that does not answer is not asked: the question
// may start it.
func objects(ctx context.Context, d host.Docker) ([]string, error) {
	if !d.Reachable.Value || d.Socket == "" {
		return nil, errors.New("no engine answers")
	}
	c, err := engine.Connect(ctx, d.Socket)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	containers, err := c.Containers(ctx, "")
	if err != nil {
		return nil, err
	}
	networks, err := c.Networks(ctx)
	if err != nil {
		return nil, err
	}
	volumes, err := c.Volumes(ctx)
	if err != nil {
		return nil, err
	}
	images, err := c.Images(ctx)
	if err != nil {
		return nil, err
	}
	all := []string{}
	for _, o := range containers {
		all = append(all, "container "+o.Name())
	}
	for _, o := range networks {
		all = append(all, "network "+o.Name)
	}
	for _, o := range volumes {
		all = append(all, "volume "+o.Name)
	}
	for _, o := range images {
		for _, tag := range o.Tags {
			all = append(all, "image "+tag)
		}
	}
	return all, nil
}
