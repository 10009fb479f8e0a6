package tunnel

import (
	"context"
	"sync"
)

// work is what goes on on a session besides the requests of the gateway.
type work struct {
	primary bool
	cancel  context.CancelFunc
	done    chan struct{}
}

// assign makes a line the one on which the agent works, or one that stands by, or neither. What the agent does on one session begins
// when it has ended on the one before it.
func (t *tunnel) assign(ctx context.Context, l *line, part func(context.Context, *Client), primary bool) {
	var before []*work
	if l.work != nil {
		l.work.cancel()
		before = append(before, l.work)
		l.work = nil
	}
	if primary && t.working != nil {
		t.working.cancel()
		before = append(before, t.working)
	}
	if part == nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &work{primary: primary, cancel: cancel, done: make(chan struct{})}
	l.work = w
	if primary {
		t.working = w
	}
	client := l.client
	t.running.Go(func() {
		defer close(w.done)
		defer cancel()
		for _, b := range before {
			<-b.done
		}
		if ctx.Err() == nil {
			part(ctx, client)
		}
	})
}

// onPrimary is what the agent does on the session on which it works.
func (t *tunnel) onPrimary(ctx context.Context, c *Client) {
	var parts sync.WaitGroup
	parts.Go(func() { t.Identity.KeepFresh(ctx, t.Log, c.Renew) })
	if t.OnSession != nil {
		parts.Go(func() { t.OnSession(ctx, c) })
	}
	parts.Wait()
}

func (t *tunnel) onStandby(ctx context.Context, c *Client) {
	if t.OnStandby != nil {
		t.OnStandby(ctx, c)
	}
}
