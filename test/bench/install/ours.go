package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// ours begins as the peer does, with a download: install.sh and the program come from the release page.
func ours(ctx context.Context, r *rig.Rig, m *lab.Machine, t *watch) error {
	if err := r.PrepareMachine(ctx, m); err != nil {
		return err
	}
	var events rig.Events
	err := t.stage("install", func() error {
		var stderr bytes.Buffer
		code, err := r.Install(ctx, m, m.Name, &events, &stderr)
		if err == nil && code != 0 {
			err = fmt.Errorf("exit code %d: %s%s", code, stderr.String(), events.Failure())
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, s := range events.Steps() {
		t.steps = append(t.steps, Stage{s.Step, float64(s.DurationMS) / 1000})
	}
	return t.stage("apply and first answer", func() error {
		_, err := r.Deploy(ctx, m.Name, "web", "ours", 3*time.Minute)
		return err
	})
}
