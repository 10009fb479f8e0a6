package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Proof proves layers at the same time, each as soon as those that it builds on are proved. Its owner calls Outcomes or Stop.
type Proof struct {
	source *Source
	layers []Layer
	limit  func(Layer) time.Duration
	cancel context.CancelFunc
	all    sync.WaitGroup
	ended  map[string]chan struct{} // closed when the outcome is there

	mu       sync.Mutex
	outcomes map[string]Outcome
}

// First and Again are the limits for Prove: those of an install, and those of a cluster that has been up.
func First(l Layer) time.Duration { return l.First }

// Again returns how long a layer may take on a cluster that has been up.
func Again(l Layer) time.Duration { return l.Again }

// Prove starts to prove layers, each of which must come after those that it builds on. What a layer builds on and is not
// among them counts as proved.
func Prove(ctx context.Context, source *Source, layers []Layer, limit func(Layer) time.Duration) *Proof {
	ctx, cancel := context.WithCancel(ctx)
	p := &Proof{source: source, layers: layers, limit: limit, cancel: cancel, ended: map[string]chan struct{}{}, outcomes: map[string]Outcome{}}
	for _, l := range layers {
		p.ended[l.ID] = make(chan struct{})
	}
	for _, l := range layers {
		p.all.Go(func() {
			defer close(p.ended[l.ID])
			o := p.prove(ctx, l)
			p.mu.Lock()
			defer p.mu.Unlock()
			p.outcomes[l.ID] = o
		})
	}
	return p
}

func (p *Proof) prove(ctx context.Context, l Layer) Outcome {
	for _, id := range slices.Concat(l.After, l.Behind) {
		below, ok := p.await(ctx, id)
		if err := ctx.Err(); err != nil {
			return outcome(l, "", stopped(err), time.Now().UTC())
		}
		if ok && below.Err != nil && slices.Contains(l.After, id) {
			err := fmt.Errorf("not tried: %s is not proved", below.Layer.Condition)
			return outcome(l, "", err, time.Now().UTC())
		}
	}
	limit := p.limit(l)
	lctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not so within %v", limit))
	defer cancel()
	evidence, err := Until(lctx, p.source, l)
	if err != nil && ctx.Err() != nil { // it was stopped, which says nothing of the layer
		err = stopped(ctx.Err())
	}
	return outcome(l, evidence, err, time.Now().UTC())
}

func stopped(err error) error { return fmt.Errorf("not proved to the end: %w", err) }

// await returns the outcome of a layer; ok is false if it is not among those that are proved.
func (p *Proof) await(ctx context.Context, id string) (o Outcome, ok bool) {
	ended, ok := p.ended[id]
	if !ok {
		return o, false
	}
	select {
	case <-ended:
	case <-ctx.Done():
		return Outcome{Err: ctx.Err()}, true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.outcomes[id], true
}

// Wait waits for the outcome of a layer and returns why it failed.
func (p *Proof) Wait(ctx context.Context, id string) (Outcome, error) {
	o, ok := p.await(ctx, id)
	if !ok {
		return o, errors.New("no such layer: " + id)
	}
	return o, o.Err
}

// Outcomes waits for all layers and returns their outcomes in order.
func (p *Proof) Outcomes() []Outcome {
	p.all.Wait()
	p.cancel() // nothing is left to end; what the context holds is let go
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []Outcome
	for _, l := range p.layers {
		all = append(all, p.outcomes[l.ID])
	}
	return all
}

// Stop ends what is still being proved, waits for its end, and returns all outcomes: a layer that was stopped is unknown.
func (p *Proof) Stop() []Outcome {
	p.cancel()
	return p.Outcomes()
}
