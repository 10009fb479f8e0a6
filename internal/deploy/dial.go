package deploy

import (
	"context"
	"net"
	"time"
)

// dialTimeout bounds the connection to a Service: it is on this machine, or has no rules of kube-proxy yet, in which case
// asking again soon is better than to hang until TCP gives up.
const dialTimeout = 3 * time.Second

// dialFirst is what the first attempt gets; each further one gets twice as long.
const dialFirst = 250 * time.Millisecond

// dialService connects to a Service by attempts that get longer. A packet that came before kube-proxy had written its rules is
// lost, and so is whatever TCP sends again for it: conntrack remembers the connection as one that is not translated. A new
// connection gets through.
func dialService(ctx context.Context, network, address string) (net.Conn, error) {
	return redial(ctx, func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	})
}

// redial dials until an attempt ends by itself, or dialTimeout is over.
func redial(ctx context.Context, dial func(context.Context) (net.Conn, error)) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	for patience := dialFirst; ; patience *= 2 {
		attempt, cancel := context.WithTimeout(ctx, patience)
		conn, err := dial(attempt)
		late := attempt.Err() != nil
		cancel()
		if err == nil || !late || ctx.Err() != nil {
			return conn, err
		}
	}
}
