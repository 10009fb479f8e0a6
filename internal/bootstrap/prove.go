package bootstrap

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/host"
)

// removeTimeout is how long the end of a proof may take to remove its objects.
const removeTimeout = 15 * time.Second

// probeOf is the probe of an install. Only the node of a k3s is the machine itself.
func probeOf(d distro.Decision, source *cluster.Source) cluster.Probe {
	p := cluster.Probe{Name: cluster.InstallProbe, Adopted: d.Chosen == distro.Existing}
	if d.Chosen != distro.K3s {
		p.Far, p.Dial = true, cluster.Far{Source: source}.DialContext
	}
	return p
}

func layersOf(d distro.Decision) []cluster.Layer {
	return cluster.Layers(probeOf(d, sourceOf(d)))
}

// proofs lists the steps that change nothing on the machine: the tunnel, and the layers of the cluster above its API.
func (o Options) proofs(proof *cluster.Proof, layers []cluster.Layer, d distro.Decision, facts host.Facts) []plan.Step {
	steps := []plan.Step{o.connectedStep()} // from here on the gateway can use the cluster, as far as it is there
	for _, layer := range layers {
		steps = append(steps, o.layerStep(proof, layer, d, facts))
	}
	return steps
}

// prove proves the layers, keeps what came out for the agent, and removes the objects that it took, whatever the end is. Where
// nothing was changed and all has been proved before, the machine is not bothered with pods again.
func (o Options) prove(ctx context.Context, runner *plan.Runner, d distro.Decision, facts host.Facts, changed bool) error {
	path := filepath.Join(o.StateDir, health.RecordFile)
	record, err := health.LoadRecord(path)
	if err != nil { // it holds nothing that cannot be proved again
		o.Log.Warn("the record of health is made anew", "err", err)
	}
	source := sourceOf(d)
	probe := probeOf(d, source)
	layers := cluster.Layers(probe)
	if !changed && !unproved(record, layers) {
		layers = slices.DeleteFunc(layers, func(l cluster.Layer) bool { return l.Probe })
	}
	answered := time.Now().UTC() // the step of the API is behind us
	proof := cluster.Prove(ctx, source, layers, cluster.First)
	_, failed := runner.Run(ctx, plan.Plan{Name: "proof", Steps: o.proofs(proof, layers, d, facts)})
	outcomes := append(proof.Stop(), cluster.Outcome{Layer: cluster.API(), Status: health.True, Reason: "Proved", At: answered})
	if probe.Adopted {
		outcomes = append(outcomes, cluster.Unproved(answered)...)
	}
	for _, outcome := range outcomes {
		record = record.With(outcome.Kept())
	}
	if err := record.Save(path); err != nil {
		o.Log.Warn("what was proved is not kept", "err", err)
	}
	o.removeProbe(ctx, source, probe)
	return failed
}

// unproved reports whether a layer that needs objects failed, or has not been tried to the end.
func unproved(record health.Record, layers []cluster.Layer) bool {
	return slices.ContainsFunc(layers, func(l cluster.Layer) bool {
		c, ok := record.Get(l.Condition)
		return l.Probe && (!ok || c.Status == health.False || c.Reason == cluster.NotProved)
	})
}

// removeProbe removes what the proof made, also when the install was told to stop. What it cannot remove, the next install
// takes over, and the agent removes when it is old.
func (o Options) removeProbe(ctx context.Context, source *cluster.Source, probe cluster.Probe) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	client, err := source.Client()
	if err == nil {
		err = probe.Remove(ctx, client)
	}
	if err != nil {
		o.Log.Warn("objects of the proof are left", "err", err)
	}
}
