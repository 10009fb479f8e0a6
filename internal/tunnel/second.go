package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/backoff"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/transport"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// secondTimeout bounds how long a gateway may take to answer to a second connection.
	secondTimeout = 10 * time.Second
	// secondPause is the least time from one further connection of a session to the next, on the average of [session.Lanes] of them: who is
	// refused, or cut, asks no more often.
	secondPause = 5 * time.Second
)

// seconds gives a session a further connection whenever there is a call for one, until ctx ends: a stream says much, at this end or at the
// gateway's, and would share one. It is dialled where the session was, and where the gateway says that it is, which differ behind a balancer.
func (t *tunnel) seconds(ctx context.Context, l *line, s *session.Session, w wire.Welcome, calls <-chan struct{}) {
	var running sync.WaitGroup
	defer running.Wait()
	var began [session.Lanes]time.Time // the last dials
	for number := uint32(1); ; number++ {
		select {
		case <-calls:
		case <-ctx.Done():
			return
		}
		eighth := &began[number%session.Lanes]
		if backoff.Sleep(ctx, time.Until(eighth.Add(session.Lanes*secondPause))) != nil {
			return
		}
		*eighth = time.Now()
		conn, err := t.attach(ctx, secondAddresses(l.address, w), wire.Second{Token: w.Second, Number: number})
		if err != nil {
			t.Log.Debug("no second connection", "gateway", l.address, "number", number, "evidence", err)
			if backoff.Sleep(ctx, secondPause) != nil {
				return
			}
			continue
		}
		t.Log.Debug("second connection", "gateway", l.address, "number", number, "by", conn.Way())
		running.Go(func() {
			err := s.Second(ctx, conn, number)
			t.Log.Debug("second connection gone", "gateway", l.address, "number", number, "evidence", err)
		})
	}
}

// secondAddresses are those of the gateway that has answered at the address which was dialled.
func secondAddresses(dialled string, w wire.Welcome) []string {
	list := []string{dialled}
	for _, g := range wire.Known(w.Gateways) {
		if g.ID == w.Gateway {
			list = append(list, slices.DeleteFunc(g.Addresses, func(a string) bool { return a == dialled })...)
		}
	}
	return list
}

// attach makes a second connection to the gateway, by the first of its addresses at which it takes it.
func (t *tunnel) attach(ctx context.Context, addresses []string, said wire.Second) (*transport.Conn, error) {
	raw, ok := said.Append(nil)
	if !ok {
		return nil, errors.New("the gateway knows of none")
	}
	var failures []error
	for _, address := range addresses {
		conn, err := t.attachAt(ctx, address, raw)
		if err == nil {
			return conn, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", address, err))
	}
	return nil, errors.Join(failures...)
}

func (t *tunnel) attachAt(ctx context.Context, address string, said []byte) (*transport.Conn, error) {
	conn, err := t.dial(ctx, address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Conn.Close() })
	defer stop()
	answer := make([]byte, 1)
	_ = conn.SetDeadline(time.Now().Add(secondTimeout)) // whoever cannot set it cannot write either
	_, err = conn.Write(said)
	if err == nil {
		_, err = io.ReadFull(conn, answer)
	}
	if err == nil && answer[0] != wire.SecondTaken {
		err = fmt.Errorf("the gateway answers with byte %d", answer[0])
	}
	if err != nil {
		_ = conn.Conn.Close() // it may have come to another gateway by the same name: that says nothing of the way
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	conn.Good()
	return conn, nil
}

// call notes that a stream says much.
func call(calls chan<- struct{}) {
	select {
	case calls <- struct{}{}:
	default: // it is known already
	}
}
