package cluster

import (
	"context"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func apiLayer() Layer {
	return Layer{
		ID: LayerAPI, Title: "The API server answers", Condition: health.ClusterReachable, Code: reason.LayerAPI,
		First: 5 * time.Minute, Again: 30 * time.Second,
		Check: func(ctx context.Context, c *Client) (string, error) { return "", c.Ready(ctx) },
	}
}
