package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// secondTimeout bounds how long a gateway may take to answer to a second connection.
	secondTimeout = 10 * time.Second
	// secondPause is the least time from one second connection of a session to the next: who is refused, or cut, asks no more often.
	secondPause = 5 * time.Second
)

// seconds gives a session a second connection whenever there is a call for one, until ctx ends: a stream says much, at this end or at the
// gateway's.
func (t *tunnel) seconds(ctx context.Context, l *line, s *session.Session, token string, calls <-chan struct{}) {
	for number := uint32(1); ; number++ {
		select {
		case <-calls:
		case <-ctx.Done():
			return
		}
		pause := time.NewTimer(secondPause)
		err := t.attach(ctx, l, s, wire.Second{Token: token, Number: number})
		t.Log.Debug("second connection gone", "gateway", l.address, "number", number, "evidence", err)
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
		pause.Stop()
	}
}

// attach makes a second connection, and returns why it is gone.
func (t *tunnel) attach(ctx context.Context, l *line, s *session.Session, said wire.Second) error {
	raw, ok := said.Append(nil)
	if !ok {
		return errors.New("the gateway knows of none")
	}
	conn, err := t.dial(ctx, l.address)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Conn.Close() })
	defer stop()
	answer := make([]byte, 1)
	_ = conn.SetDeadline(time.Now().Add(secondTimeout)) // whoever cannot set it cannot write either
	_, err = conn.Write(raw)
	if err == nil {
		_, err = io.ReadFull(conn, answer)
	}
	if err == nil && answer[0] != wire.SecondTaken {
		err = fmt.Errorf("the gateway answers with byte %d", answer[0])
	}
	if err != nil {
		_ = conn.Conn.Close() // it may have come to another gateway by the same name: that says nothing of the way
		return err
	}
	_ = conn.SetDeadline(time.Time{})
	conn.Good()
	t.Log.Debug("second connection", "gateway", l.address, "number", said.Number, "by", conn.Way())
	return s.Second(ctx, conn, said.Number)
}

// call notes that a stream says much.
func call(calls chan<- struct{}) {
	select {
	case calls <- struct{}{}:
	default: // it is known already
	}
}
