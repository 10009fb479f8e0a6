package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// ours begins as the peer does, with a download: install.sh and the program come from the release page.
func ours(ctx context.Context, r *rig.Rig, m *lab.Machine, t *watch) error {
	if err := r.PrepareMachine(ctx, m); err != nil {
		return err
	}
	began := time.Now()
	connected, ended := make(chan struct{}), make(chan error, 1)
	var once sync.Once
	events := rig.Events{Show: func(e wire.Event) {
		if e.Step == "connected" && e.State == "done" {
			once.Do(func() { close(connected) })
		}
	}}
	go func() {
		var stderr bytes.Buffer
		code, err := r.Install(ctx, m, m.Name, &events, &stderr)
		if err == nil && code != 0 {
			err = fmt.Errorf("exit code %d: %s%s", code, stderr.String(), events.Failure())
		}
		ended <- err
	}()
	err := t.stage("install until connected", func() error {
		select {
		case <-connected:
			return nil
		case err := <-ended:
			return errors.Join(errors.New("the install has ended before it was connected"), err)
		}
	})
	if err != nil {
		return err
	}
	// what is left of the install is proofs: the gateway deploys meanwhile
	err = t.stage("apply and first answer", func() error {
		_, err := r.Deploy(ctx, m.Name, "web", "ours", 3*time.Minute)
		return err
	})
	if err := errors.Join(err, <-ended); err != nil {
		return err
	}
	t.proved = time.Since(began).Seconds()
	for _, s := range events.Steps() {
		t.steps = append(t.steps, Stage{s.Step, float64(s.DurationMS) / 1000})
	}
	return nil
}
