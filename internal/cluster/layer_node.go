package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func nodeLayer() Layer {
	return Layer{
		ID: LayerNode, Title: "A node is ready", Condition: health.NodesReady, Code: reason.LayerNode,
		First: 5 * time.Minute, Again: 30 * time.Second,
		Check: func(ctx context.Context, c *Client) (string, error) {
			all, ready, err := c.Nodes(ctx)
			if err == nil && ready == 0 {
				err = fmt.Errorf("0 of %d nodes are ready", all)
			}
			return fmt.Sprintf("%d of %d nodes are ready", ready, all), err
		},
	}
}
