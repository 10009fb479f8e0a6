package distro

import (
	"context"
	"maps"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/engine"
	"github.com/pipeopshq/pipeops-agent/internal/remains"
)

// undoContainers returns how the changes of clusters in containers are undone.
func (in Install) undoContainers() map[plan.Kind]func(context.Context, plan.Record) ([]string, error) {
	all := map[plan.Kind]func(context.Context, plan.Record) ([]string, error){
		containerCluster: in.removeCluster,
		containerImage:   in.removeImage,
		engineTraces:     in.removeEngineTraces,
	}
	maps.Copy(all, in.undoMinikubeNone())
	for _, thing := range remains.Engine(in.remains("")) {
		all[plan.Kind(thing.Kind)] = func(ctx context.Context, c plan.Record) ([]string, error) {
			if in.enginePrograms() != nil {
				return nil, nil // it stays, with all that is its own
			}
			return thing.Remove(ctx, c.Before.Names)
		}
	}
	return all
}

func (in Install) removeCluster(ctx context.Context, c plan.Record) ([]string, error) {
	name, _, _ := strings.Cut(c.Target, "/")
	n, err := ourNodes(in, name)
	if err != nil {
		return nil, err
	}
	left, err := n.remove(ctx, c.Before.Names)
	if err != nil {
		return left, err
	}
	// one whose address was mended at a start is no longer as it was written, and was left as if somebody else had changed it
	return left, atomicfile.Remove(n.path(n.nodes.kubeconfigFile()))
}

// removeImage removes an image that we gave to the engine, unless something else is made of it by now.
func (in Install) removeImage(ctx context.Context, c plan.Record) ([]string, error) {
	n := &nodeCluster{Install: in}
	if n.engineGone() {
		return nil, nil
	}
	client, err := n.engineOf(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	switch err := client.RemoveImage(ctx, c.Target); {
	case err == nil, engine.NotFound(err):
		return nil, nil
	case engine.Conflict(err):
		return []string{"image " + c.Target}, nil
	default:
		return nil, err
	}
}
