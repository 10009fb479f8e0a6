package bootstrap

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// kubeProxyConfig is the kubeconfig of kube-proxy, beside that of the kubelet: with its rights the pods of other nodes are found.
const kubeProxyConfig = "kubeproxy.kubeconfig"

// nodeProofs lists the steps that change nothing: the tunnel, the node as the cluster sees it, and packets to other nodes.
func (o Options) nodeProofs(d distro.Decision, facts host.Facts) []plan.Step {
	own, elsewhere := &cluster.Source{Path: d.Kubeconfig}, &cluster.Source{Path: d.Kubeconfig}
	server := o.Request.Node == wire.RoleServer
	if !server {
		elsewhere.Path = filepath.Join(filepath.Dir(d.Kubeconfig), kubeProxyConfig)
	}
	return []plan.Step{
		o.connectedStep(),
		o.nodeStep(own, cluster.NodeLayer(o.Install.NodeName, server), d, facts),
		o.nodeStep(elsewhere, cluster.AcrossLayer(o.Install.NodeName), d, facts),
	}
}

// nodeStep waits for one layer.
func (o Options) nodeStep(source *cluster.Source, layer cluster.Layer, d distro.Decision, facts host.Facts) plan.Step {
	return plan.Step{
		ID: "layer-" + layer.ID, Title: layer.Title, Timeout: layer.First,
		Prove: func(ctx context.Context) error {
			if _, err := os.Stat(source.Path); errors.Is(err, os.ErrNotExist) && layer.ID == cluster.LayerNetwork {
				o.Events(event("notice", "Not proved: "+layer.Title+": there is no kube-proxy of k3s here", nil))
				return nil
			}
			err := o.suspecting(ctx, d, func(ctx context.Context) error {
				_, err := cluster.Until(ctx, source, layer)
				return err
			})
			var cannot *cluster.UnprovableError
			if errors.As(err, &cannot) {
				o.Events(event("notice", "Not proved: "+layer.Title+": "+cannot.Message, nil))
				return nil
			}
			var known *reason.Error
			if errors.As(err, &known) {
				err = known.WithFix(distro.LayerFix(known.Code, facts))
			}
			return o.diagnose(ctx, d, err)
		},
	}
}
