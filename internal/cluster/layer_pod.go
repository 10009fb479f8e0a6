package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// podLayer runs the pod of the probe, which the layers above it use.
func podLayer(p Probe) Layer {
	return Layer{
		ID: LayerPod, Title: "A pod runs", Condition: health.PodsRun, Code: reason.LayerPod,
		After: []string{LayerNode}, Probe: true, First: 5 * time.Minute, Again: time.Minute,
		Check: func(ctx context.Context, c *Client) (string, error) {
			pod, err := p.pod(ctx, c)
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("a pod of %s runs on %s", pod.image, pod.node), nil
		},
	}
}
