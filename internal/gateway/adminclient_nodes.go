package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/pipeopshq/pipeops-agent/internal/nodes"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Nodes lists the nodes of a cluster, as its Kubernetes API has them.
func (a *Admin) Nodes(ctx context.Context, cluster string) (list []NodeInfo, err error) {
	return list, a.call(ctx, http.MethodGet, nodesPath(cluster), nil, &list)
}

// DrainNode takes the pods off a node. tell is called with what happens, the last line included.
func (a *Admin) DrainNode(ctx context.Context, cluster, node string, o nodes.DrainOptions, tell func(NodeProgress)) error {
	return a.onNode(ctx, cluster, node, "drain", o, tell)
}

// CordonNode lets a node take no new pods, or lets it take them again.
func (a *Admin) CordonNode(ctx context.Context, cluster, node string, cordoned bool, tell func(NodeProgress)) error {
	if cordoned {
		return a.onNode(ctx, cluster, node, "cordon", nodes.DrainOptions{}, tell)
	}
	return a.onNode(ctx, cluster, node, "uncordon", nodes.DrainOptions{}, tell)
}

// RemoveNode drains a node, takes it out of the cluster, and forgets its machine.
func (a *Admin) RemoveNode(ctx context.Context, cluster, node string, o nodes.DrainOptions, tell func(NodeProgress)) error {
	return a.onNode(ctx, cluster, node, "remove", o, tell)
}

func nodesPath(cluster string) string { return "/clusters/" + url.PathEscape(cluster) + "/nodes" }

// onNode asks for something that takes its time, and passes on what is told of it.
func (a *Admin) onNode(ctx context.Context, cluster, node, what string, o nodes.DrainOptions, tell func(NodeProgress)) error {
	response, err := a.do(ctx, http.MethodPost, nodesPath(cluster)+"/"+url.PathEscape(node)+"/"+what, o)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= 300 {
		return refusal.Read(response)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, wire.MaxDocument)
	for lines.Scan() {
		var p NodeProgress
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			return fmt.Errorf("cannot read the gateway's answer: %w", err)
		}
		switch p.Kind {
		case "done":
			tell(p)
			return nil
		case "error":
			err := refusal.FromWire(wire.Error{Code: p.Code, Message: p.Message})
			var known *reason.Error
			if errors.As(err, &known) && p.Fix != "" {
				return known.WithFix(p.Fix)
			}
			return err
		}
		tell(p)
	}
	return reason.New(reason.GatewayUnreachable, "the answer of the gateway was cut", lines.Err())
}
