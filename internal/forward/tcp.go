package forward

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/carry"
)

// acceptPause is how long nothing is accepted after that failed, as it does when the process has too many files open.
const acceptPause = 100 * time.Millisecond

func (f Forward) tcp(ctx context.Context, listen string) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", listen)
	if err != nil {
		return cannot(listen, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	f.event("listening", listener.Addr(), carry.Result{}, nil)
	var open sync.WaitGroup
	defer open.Wait()
	for {
		conn, err := listener.Accept()
		switch {
		case err == nil:
			open.Go(func() { f.connection(ctx, conn) })
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		default:
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
		}
	}
}

// connection carries one connection. What fails is told, and the program there sees a reset.
func (f Forward) connection(ctx context.Context, conn net.Conn) {
	tunnel, err := f.Access.Open(ctx, f.Target)
	if err != nil {
		carry.Abort(conn)
		f.event("refused", conn.RemoteAddr(), carry.Result{}, err)
		return
	}
	f.event("opened", conn.RemoteAddr(), carry.Result{}, nil)
	result := carry.Stream(ctx, conn, tunnel)
	f.event("ended", conn.RemoteAddr(), result, result.Err)
}
