package transport

import (
	"context"
	"time"
)

// failure is a way that did not come about.
type failure struct {
	way way
	err error
}

// race tries the ways, each after the time that the one before it has for itself, or at once when all that were begun have failed.
// It returns the first connection, or how each way has ended, in the order of the ways. It waits for the losers, whose context
// ends with it, and closes what they made.
func race(ctx context.Context, ways []way, try func(context.Context, way) (*Conn, error)) (*Conn, []failure) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		at   int
		conn *Conn
		err  error
	}
	results := make(chan result, len(ways))
	begun, running := 0, 0
	next := time.NewTimer(0)
	defer next.Stop()
	begin := func() {
		at := begun
		begun, running = begun+1, running+1
		next.Stop()
		if begun < len(ways) {
			next.Reset(ways[begun].wait)
		}
		go func() {
			conn, err := try(ctx, ways[at])
			if err != nil {
				conn = nil
			}
			results <- result{at, conn, err}
		}()
	}
	failed := make([]error, len(ways))
	begin()
	for running > 0 {
		select {
		case <-next.C:
			begin()
		case r := <-results:
			running--
			if r.conn != nil {
				cancel()
				for ; running > 0; running-- {
					if late := <-results; late.conn != nil {
						_ = late.conn.Conn.Close()
					}
				}
				return r.conn, nil
			}
			failed[r.at] = r.err
			if running == 0 && begun < len(ways) && ctx.Err() == nil {
				begin()
			}
		}
	}
	var failures []failure
	for i, err := range failed[:begun] {
		failures = append(failures, failure{ways[i], err})
	}
	return nil, failures
}
