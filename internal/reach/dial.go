package reach

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/carry"
	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// dialTimeout bounds the connection to one pod: it is in the network of the cluster.
	dialTimeout = 5 * time.Second
	// dialFirst is what the first attempt gets; each further one gets twice as long. A packet that comes while the network of a new pod is
	// still being made is lost, and asking again soon is better than to wait for TCP to do it.
	dialFirst = 250 * time.Millisecond
)

// line is a connection to a pod, and a channel that is closed when what it leads to is no more.
type line struct {
	net.Conn
	gone  <-chan struct{}
	what  string // that has gone, when it has
	leave func()
}

// Dial connects to a service or a pod, for the agent itself: whether a user may is asked by who calls. The connection is reset when the pod
// goes. The error is that of resolve, or CONNECT_UNREACHABLE.
func (r *Reach) Dial(ctx context.Context, t wire.Target) (net.Conn, error) {
	client, err := r.client()
	if err != nil {
		return nil, err
	}
	done, err := r.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	asked, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	at, err := r.resolve(asked, client, t)
	if err != nil {
		return nil, err
	}
	l, err := r.dial(ctx, client, t, at)
	if err != nil {
		return nil, err
	}
	c := &watched{line: l, closed: make(chan struct{})}
	go func() { // ends with the connection
		select {
		case <-l.gone:
			carry.Abort(l.Conn)
		case <-c.closed:
		}
	}()
	return c, nil
}

// watched is a connection that ends with its pod.
type watched struct {
	*line
	closed chan struct{}
	once   sync.Once
}

func (w *watched) Close() error {
	w.once.Do(func() {
		close(w.closed)
		w.leave()
	})
	return w.Conn.Close()
}

// dial connects to one of the places, which were checked a moment ago: no name is looked up again in between.
func (r *Reach) dial(ctx context.Context, client *cluster.Client, t wire.Target, at found) (*line, error) {
	var last error
	for _, p := range at.places {
		conn, err := r.connect(ctx, client, t.Network, p)
		if err == nil {
			return r.follow(t, at, p, conn), nil
		}
		if last = err; ctx.Err() != nil {
			break
		}
	}
	return nil, reason.Newf(reason.ConnectUnreachable, "%s: %v", t, last)
}

// connect dials one place.
func (r *Reach) connect(ctx context.Context, client *cluster.Client, network string, p place) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if r.Far {
		if network != "tcp" {
			return nil, fmt.Errorf("this machine is no node of the cluster, and the way by the API server carries no %s", network)
		}
		return forward(ctx, client, p)
	}
	dial := r.DialContext
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	address := net.JoinHostPort(p.address.String(), strconv.Itoa(p.port)) // an address, so that no dialer can look up anything
	for patience := dialFirst; ; patience *= 2 {
		attempt, cancel := context.WithTimeout(ctx, patience)
		conn, err := dial(attempt, network, address)
		late := attempt.Err() != nil
		cancel()
		if err == nil || !late || ctx.Err() != nil {
			return conn, err
		}
	}
}

// forward opens a port by way of the API server. Its context must outlive the connection, so the time limit is kept here.
func forward(ctx context.Context, client *cluster.Client, p place) (net.Conn, error) {
	type opened struct {
		conn net.Conn
		err  error
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan opened, 1)
	go func() { // ends soon after life does
		conn, err := client.Forward(life, p.namespace, p.pod, p.port)
		done <- opened{conn, err}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			end()
			return nil, o.err
		}
		return &forwarded{o.conn, end}, nil
	case <-ctx.Done():
		end()
		go func() {
			if o := <-done; o.conn != nil {
				_ = o.conn.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// forwarded is a connection that came of a request, whose context ends with it.
type forwarded struct {
	net.Conn
	end context.CancelFunc
}

// CloseWrite passes on that this side has no more to say.
func (f *forwarded) CloseWrite() error {
	if half, ok := f.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (f *forwarded) Close() error {
	defer f.end()
	return f.Conn.Close()
}

// follow watches what a connection leads to: the pod, and the service by which it was found.
func (r *Reach) follow(t wire.Target, at found, p place, conn net.Conn) *line {
	l := &line{Conn: conn}
	pod := object{podsResource, p.namespace, p.pod, p.uid}
	podGone, leavePod := r.follower.follow(pod)
	if t.Kind == wire.KindPod {
		l.gone, l.leave, l.what = podGone, leavePod, pod.String()
		return l
	}
	service := object{servicesResource, t.Namespace, t.Name, at.serviceUID}
	serviceGone, leaveService := r.follower.follow(service)
	gone, left := make(chan struct{}), make(chan struct{})
	go func() { // ends with the connection
		select {
		case <-podGone:
			l.what = pod.String()
		case <-serviceGone:
			l.what = service.String()
		case <-left:
			return
		}
		close(gone)
	}()
	l.gone = gone
	l.leave = sync.OnceFunc(func() {
		close(left)
		leavePod()
		leaveService()
	})
	return l
}
