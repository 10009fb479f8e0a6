package distro

import (
	"context"
	"net"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/engine"
)

// engineTraces is the kind of what an engine leaves beside its folders when its package is removed: its links. The target is the
// engine, before are the links that were there.
const engineTraces plan.Kind = "engine-traces"

// undoContainers returns how the changes of clusters in containers are undone.
func (in Install) undoContainers() map[plan.Kind]func(context.Context, plan.Record) ([]string, error) {
	return map[plan.Kind]func(context.Context, plan.Record) ([]string, error){
		containerCluster: in.removeCluster,
		containerImage:   in.removeImage,
		engineTraces:     in.removeEngineTraces,
	}
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

// engineLinks are the links that an engine makes for itself.
func engineLinks() []string { return []string{"docker0"} }

// linksThere lists those that are there.
func (n *nodeCluster) linksThere() []string {
	var there []string
	for _, name := range engineLinks() {
		if _, err := net.InterfaceByName(name); err == nil {
			there = append(there, name)
		}
	}
	return there
}

// removeEngineTraces removes the links that have come with the engine.
func (in Install) removeEngineTraces(ctx context.Context, c plan.Record) ([]string, error) {
	for _, name := range (&nodeCluster{Install: in}).linksThere() {
		if slices.Contains(c.Before.Names, name) || in.Root != "" {
			continue
		}
		if err := in.change(ctx, "ip", "link", "delete", name); err != nil {
			return nil, err
		}
	}
	return nil, nil
}
