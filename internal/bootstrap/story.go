package bootstrap

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/transport"
	"github.com/pipeopshq/pipeops-agent/internal/tunnel"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// farewell is how long the end of an install waits for the gateway to hear of it.
const farewell = 5 * time.Second

// story is what an install tells: to those who watch it here, and to the gateway, which also hears what came before
// there was a way to tell it.
type story struct {
	show    func(wire.Event)
	log     *slog.Logger
	through *transport.Dialer // by way of which the gateway is told

	mu     sync.Mutex
	told   []wire.Event // while there is no report
	report *tunnel.Reporter
}

func (s *story) tell(e wire.Event) {
	s.show(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.report == nil {
		s.told = append(s.told, e)
		return
	}
	s.report.Send(e)
}

// reportTo begins to tell the gateway. The second time it does nothing.
func (s *story) reportTo(id *identity.Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.report != nil {
		return
	}
	s.report = tunnel.NewReporter(id, s.through, s.log)
	for _, e := range s.told {
		s.report.Send(e)
	}
	s.told = nil
}

// close sends the end of the story.
func (s *story) close(ctx context.Context, err error) {
	if s.report == nil {
		return
	}
	if err != nil && ctx.Err() != nil { // what a signal cut short has not failed
		err = reason.Newf(reason.Interrupted, "a signal came")
	}
	if err != nil {
		failed := event("error", err.Error(), nil)
		var known *reason.Error
		if errors.As(err, &known) {
			failed.Code = string(known.Code)
		}
		s.report.Send(failed)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if err := s.report.Close(ctx); err != nil {
		s.log.Warn("the gateway did not hear the end of the install", "err", err)
	}
}
