package forward

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/carry"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const (
	// maxFlows bounds the programs that use the port at a time, above which what new ones say is dropped: an agent takes 200 of a user.
	maxFlows = 200
	// maxEarly is how many datagrams of a flow wait until it is taken from there.
	maxEarly = 256
	// maxWaiting bounds what waits in all flows, in bytes.
	maxWaiting = 16 << 20
	maxPacket  = 1 << 16
)

// flows are those of one port, by the address of the program.
type flows struct {
	Forward
	port   net.PacketConn
	budget carry.Budget

	mu    sync.Mutex
	known map[string]*flow
	open  sync.WaitGroup
}

func (f Forward) udp(ctx context.Context, listen string) error {
	var config net.ListenConfig
	port, err := config.ListenPacket(ctx, "udp", listen)
	if err != nil {
		return cannot(listen, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = port.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	all := &flows{Forward: f, port: port, known: map[string]*flow{}}
	all.budget.Most = maxWaiting
	f.event("listening", port.LocalAddr(), carry.Result{}, nil)
	defer func() {
		all.open.Wait()
		_ = port.Close()
	}()
	buf := make([]byte, maxPacket)
	for {
		n, from, err := port.ReadFrom(buf)
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		case err == nil:
			all.came(ctx, from, append([]byte(nil), buf[:n]...))
		}
	}
}

// came hands a datagram to its flow, which is made if there is none.
func (a *flows) came(ctx context.Context, from net.Addr, datagram []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.known[from.String()]
	if f == nil {
		if len(a.known) >= maxFlows {
			return
		}
		f = &flow{port: a.port, from: from, in: make(chan []byte, maxEarly), closed: make(chan struct{})}
		a.known[from.String()] = f
		a.open.Go(func() {
			a.run(ctx, f)
			a.mu.Lock()
			defer a.mu.Unlock()
			delete(a.known, from.String())
		})
	}
	select {
	case f.in <- datagram:
	default: // more than is taken: datagrams may be lost
	}
}

// refusedFor is for how long the datagrams of a flow that was refused are dropped, before it is tried again.
const refusedFor = time.Second

// run carries a flow until it is idle, or fails.
func (a *flows) run(ctx context.Context, f *flow) {
	tunnel, err := a.Access.Open(ctx, a.Target)
	if err != nil {
		a.event("refused", f.from, carry.Result{}, err)
		var known *reason.Error
		if errors.As(err, &known) {
			select {
			case <-ctx.Done():
			case <-time.After(refusedFor):
			}
		}
		return
	}
	a.event("opened", f.from, carry.Result{}, nil)
	result := carry.Datagrams(ctx, f, tunnel, carry.DefaultIdle, &a.budget)
	a.event("ended", f.from, result, result.Err)
}

// flow is what one program says and hears at the port, as a connection.
type flow struct {
	port   net.PacketConn
	from   net.Addr
	in     chan []byte
	closed chan struct{}
	once   sync.Once
}

func (f *flow) Read(p []byte) (int, error) {
	select {
	case datagram := <-f.in:
		return copy(p, datagram), nil
	case <-f.closed:
		return 0, net.ErrClosed
	}
}

func (f *flow) Write(p []byte) (int, error) { return f.port.WriteTo(p, f.from) }

// Close ends the flow, and not the port.
func (f *flow) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

func (f *flow) LocalAddr() net.Addr              { return f.port.LocalAddr() }
func (f *flow) RemoteAddr() net.Addr             { return f.from }
func (f *flow) SetDeadline(time.Time) error      { return nil }
func (f *flow) SetReadDeadline(time.Time) error  { return nil }
func (f *flow) SetWriteDeadline(time.Time) error { return nil }
