package bootstrap

import (
	"context"

	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
)

// judge looks at the machine and decides, or refuses it. Where others are changing the machine it waits for them and looks
// again, since they may have changed what was decided by.
func (o *Options) judge(ctx context.Context) (host.Facts, distro.Decision, error) {
	for {
		facts, decision, err := o.lookAndDecide(ctx)
		if err != nil {
			return facts, decision, err
		}
		waited, err := o.quiet(ctx, decision)
		if err != nil {
			return facts, decision, err
		}
		if waited {
			continue
		}
		if changes := o.difference(decision); len(changes) > 0 {
			o.Events(settingsEvent(changes))
		}
		return facts, decision, nil
	}
}

func (o *Options) lookAndDecide(ctx context.Context) (host.Facts, distro.Decision, error) {
	o.Host.DataDir = o.Request.DataDir
	facts := host.Collect(ctx, o.Host)
	if err := seenEnough(facts); err != nil {
		return facts, distro.Decision{}, err
	}
	o.askClusters(ctx, facts.Clusters)
	o.Events(event("facts", facts.Summary(), facts.Report()))
	trials, err := trial.Run(ctx, trial.Env{})
	if err != nil {
		return facts, distro.Decision{}, reason.New(reason.HostUnseen, "a trial was not undone in time", err)
	}
	o.tried = trials
	decision, err := o.decide(ctx, facts, trials)
	if err != nil {
		return facts, decision, err
	}
	o.Events(event("decision", decision.Text(), decision))
	if err := Refusal(decision); err != nil {
		return facts, decision, err
	}
	if err := o.adoptable(ctx, decision); err != nil {
		return facts, decision, err
	}
	return facts, decision, available(facts, decision)
}

// difference lists the settings that an install makes others than the last one has left.
func (o *Options) difference(d distro.Decision) []SettingChange {
	if o.Settings == nil {
		return nil
	}
	before, after := o.Settings(d, o.Request.Consent)
	if before == nil {
		return nil
	}
	return SettingChanges(before, after)
}
