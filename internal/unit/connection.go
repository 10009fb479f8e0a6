package unit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

const (
	// reconnectLimit is how long systemd may take to be there again: when it executes itself anew, after an upgrade of its
	// package, it closes all connections and is back within a second or two.
	reconnectLimit = 15 * time.Second
	reconnectEvery = 100 * time.Millisecond
)

// Manager is a connection to systemd, which is made anew where systemd has closed it. A call takes as long as its context
// lets it.
type Manager struct {
	dial func() (*dbus.Conn, error)

	mu   sync.Mutex
	conn *dbus.Conn
}

// Connect connects to systemd: by its private socket, which root can use without a bus daemon, else by the system bus.
// The connection lives as long as ctx.
func Connect(ctx context.Context) (*Manager, error) {
	m := &Manager{dial: func() (*dbus.Conn, error) { return dial(ctx) }}
	conn, err := m.dial()
	m.conn = conn
	return m, err
}

func dial(ctx context.Context) (*dbus.Conn, error) {
	conn, err := dbus.NewSystemdConnectionContext(ctx)
	if err == nil {
		return conn, nil
	}
	bus, busErr := dbus.NewSystemConnectionContext(ctx)
	if busErr != nil {
		return nil, fmt.Errorf("cannot reach systemd: %w", errors.Join(err, busErr))
	}
	if err := bus.Subscribe(); err != nil { // on the bus, the ends of jobs are told to subscribers only
		bus.Close()
		return nil, fmt.Errorf("cannot reach systemd: %w", err)
	}
	return bus, nil
}

// Close ends the connection.
func (m *Manager) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conn.Close()
}

// call asks systemd, and once more where the connection was lost meanwhile: what is asked may be asked twice. On a machine that
// is going down there is no second time, and the process ends with it.
func (m *Manager) call(ctx context.Context, do func(*dbus.Conn) error) error {
	conn := m.current()
	err := do(conn)
	if err == nil || ctx.Err() != nil || conn.Connected() {
		return err
	}
	if conn, again := m.reconnect(ctx, conn); again == nil {
		return do(conn)
	}
	return err
}

func (m *Manager) current() *dbus.Conn {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.conn
}

// reconnect replaces a connection that is lost, unless somebody else has done so already.
func (m *Manager) reconnect(ctx context.Context, lost *dbus.Conn) (*dbus.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, reconnectLimit)
	defer cancel()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conn != lost {
		return m.conn, nil
	}
	tick := time.NewTicker(reconnectEvery)
	defer tick.Stop()
	for {
		conn, err := m.dial()
		if err == nil {
			m.conn = conn
			lost.Close()
			return conn, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}
