package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/cork"
	"github.com/pipeopshq/pipeops-agent/internal/mux"
)

const (
	// secondEvery is how often either end of a second connection makes a round trip on it: the kernel finds a cut before that, unless
	// somebody on the way ends the TCP connection.
	secondEvery = 10 * time.Second
	// secondPatience is how long that may take: what it waits behind is what streams that say much have said, on any path.
	secondPatience = 30 * time.Second
	// secondIdle is how long no stream may be on it before the agent ends it.
	secondIdle = time.Minute
)

// Lanes is how many further connections a session has at most.
const Lanes = mux.Lanes

// OnLarge has f called, in a goroutine of its own, when a stream says much and there is no connection for it to go on on by itself, and not
// [Lanes] of them; again every 5 s until one comes.
func (s *Session) OnLarge(f func()) { s.onLarge.Store(&f) }

func (s *Session) saysMuch() {
	if f := s.onLarge.Load(); f != nil {
		(*f)()
	}
}

// Second gives the session a further connection for streams that say much, [Tune]d, which it owns from now on, and returns why it is gone:
// nil if there was no use for it for a minute. Both ends call it, the agent when the gateway has, with a number that counts up.
// The session goes on when it is gone; the streams on it do not.
func (s *Session) Second(ctx context.Context, conn net.Conn, number uint32) error {
	gone, err := s.mux.Attach(cork.Over(conn), number, s.alive.agent)
	if err != nil {
		return err
	}
	used := time.Now()
	for {
		if err := s.pingSecond(ctx, number); err != nil {
			s.mux.Detach(number, err)
			return err
		}
		switch streams, _ := s.mux.Lane(number); {
		case streams > 0:
			used = time.Now()
		case s.alive.agent && time.Since(used) >= secondIdle && s.mux.DetachIdle(number):
			return nil
		}
		select {
		case <-time.After(secondEvery):
		case <-gone:
			return mux.ErrLane
		case <-ctx.Done():
		}
	}
}

func (s *Session) pingSecond(ctx context.Context, number uint32) error {
	timed, cancel := context.WithTimeout(ctx, secondPatience)
	defer cancel()
	err := s.mux.PingLane(timed, number)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return fmt.Errorf("the peer did not answer on it within %s", secondPatience)
	}
	return err
}
