package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/localapi"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// How long the steps may take. A layer has its own limit, from the moment at which those below it are proved.
const (
	apiTimeout       = 5 * time.Minute // a slow machine unpacks images for minutes
	layerTimeout     = 15 * time.Minute
	connectedTimeout = time.Minute
)

// apiStep waits for the API server, without which nothing further can be changed.
func (o Options) apiStep(source *cluster.Source, d distro.Decision) plan.Step {
	layer := cluster.API()
	return plan.Step{
		ID:      "layer-" + layer.ID,
		Title:   layer.Title,
		Timeout: apiTimeout,
		Prove: func(ctx context.Context) error {
			err := o.suspecting(ctx, d, func(ctx context.Context) error {
				_, err := cluster.Until(ctx, source, layer)
				return err
			})
			return o.diagnose(ctx, d, err)
		},
	}
}

// layerStep waits for one layer of a proof that runs; nil where the step is only shown.
func (o Options) layerStep(proof *cluster.Proof, layer cluster.Layer, d distro.Decision, facts host.Facts) plan.Step {
	return plan.Step{
		ID:      "layer-" + layer.ID,
		Title:   layer.Title,
		Timeout: layerTimeout,
		Prove: func(ctx context.Context) error {
			err := o.suspecting(ctx, d, func(ctx context.Context) error {
				_, err := proof.Wait(ctx, layer.ID)
				return err
			})
			var known *reason.Error
			if errors.As(err, &known) {
				err = known.WithFix(distro.LayerFix(known.Code, facts))
			}
			return o.diagnose(ctx, d, err)
		},
	}
}

// diagnose adds to the error of a layer what k3s itself says of the cause, if it does, and the way out of that.
func (o Options) diagnose(ctx context.Context, d distro.Decision, err error) error {
	var known *reason.Error
	if d.Chosen != distro.K3s || !errors.As(err, &known) || errors.Is(ctx.Err(), context.Canceled) { // by the user, who waits
		return err
	}
	ctx = context.WithoutCancel(ctx)
	facts := host.Collect(ctx, o.Host)
	diagnosis, ok := distro.Diagnose(distro.ReadWords(ctx, facts), facts)
	if !ok {
		return err
	}
	return because(known, diagnosis)
}

// suspecting waits for a layer, and tells meanwhile what k3s says that may be why it takes long.
func (o Options) suspecting(ctx context.Context, d distro.Decision, wait func(context.Context) error) error {
	if d.Chosen != distro.K3s {
		return wait(ctx)
	}
	look := func(ctx context.Context) (distro.Diagnosis, bool) {
		facts := host.Collect(ctx, o.Host)
		return distro.Suspect(distro.ReadWords(ctx, facts), facts)
	}
	return distro.Suspecting(ctx, look, o.tellSuspicion, wait)
}

// tellSuspicion says what may be why the cluster takes long.
func (o Options) tellSuspicion(d distro.Diagnosis) {
	e := d.Err(nil)
	told := event("suspicion", fmt.Sprintf("Not ready yet, perhaps since: %s. If it stays so: %s", e, e.Fix), nil)
	told.Code = string(e.Code)
	o.Events(told)
}

// because keeps the code of the layer, and so its exit code: the cluster is there and was not rolled back.
func because(layer *reason.Error, d distro.Diagnosis) error {
	cause := d.Err(layer.Err)
	told := layer.WithFix(cause.Fix)
	told.Err = cause
	return told
}

// adminsRights says for people what accessStep gives.
const adminsRights = "group " + wire.GroupAdmins + " to cluster-admin"

// accessStep binds the gateway's administrators to their role. It is undone with the cluster itself.
func accessStep(source *cluster.Source) plan.Step {
	return plan.Step{
		ID:      "access",
		Title:   "Give the gateway's administrators their rights",
		Changes: []string{"ClusterRoleBinding " + cluster.AdminsBinding + " to cluster-admin"},
		Timeout: time.Minute,
		Done: func(ctx context.Context) (bool, error) {
			client, err := source.Client()
			if err != nil {
				return false, nil // not yet
			}
			return client.AdminsGranted(ctx)
		},
		Do: func(ctx context.Context, r *plan.Recorder) error {
			client, err := source.Client()
			if err != nil {
				return err
			}
			return r.Note(inCluster, adminsTarget, "absent", adminsRights,
				func() error { return client.GrantAdmins(ctx) })
		},
	}
}

// connectedStep waits until the running agent says that its tunnel is up.
func (o Options) connectedStep() plan.Step {
	return plan.Step{
		ID:      "connected",
		Title:   "The gateway is connected",
		Timeout: connectedTimeout,
		Prove: func(ctx context.Context) error {
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			var last error
			for {
				err := o.tunnelUp(ctx)
				if err == nil {
					return nil
				}
				if last == nil || ctx.Err() == nil { // the one that the end of the time has cut says only that
					last = err
				}
				select {
				case <-ctx.Done():
					return last
				case <-tick.C:
				}
			}
		},
	}
}

func (o Options) tunnelUp(ctx context.Context) error {
	status, err := localapi.Fetch(ctx, o.Socket)
	if err != nil {
		return err
	}
	for _, c := range status.Conditions {
		if c.Type == health.Tunnel && c.Status == health.True {
			return nil
		}
		if c.Type == health.Tunnel && c.Reason == string(reason.IdentityRevoked) {
			err := reason.Newf(reason.IdentityRevoked, "%s", c.Message)
			if o.Node != nil {
				err = err.WithFix("take this machine out first: pipeops-agent uninstall; then run join with a new token: pipeops-gateway join CLUSTER")
			}
			return err
		}
		if c.Type == health.Tunnel {
			return reason.Newf(reason.GatewayUnreachable, "the agent says %s: %s", c.Reason, c.Message)
		}
	}
	return reason.Newf(reason.GatewayUnreachable, "the agent says nothing of its tunnel")
}
