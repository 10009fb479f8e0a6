package cluster

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/httpstream" //nolint:staticcheck // what spdy.Negotiate of client-go returns is of this package still
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport/spdy"
)

// forwardProtocol is what kubelets speak for a forwarded port: a stream for data, and one that says what went wrong.
const forwardProtocol = "portforward.k8s.io"

// maxForwardError bounds what is read of the latter, in bytes.
const maxForwardError = 4 << 10

// forwardTo opens a forwarded port by a request that is upgraded.
func forwardTo(request *http.Request, config *rest.Config, port int) (net.Conn, error) {
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, err
	}
	conn, spoken, err := spdy.Negotiate(upgrader, &http.Client{Transport: transport}, request, forwardProtocol)
	if err != nil {
		return nil, err
	}
	if spoken != forwardProtocol {
		return nil, errors.Join(fmt.Errorf("the API server forwards ports by %q", spoken), conn.Close())
	}
	f := &forwarded{conn: conn, told: make(chan struct{}), to: port}
	if err := f.open(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return f, nil
}

// forwarded is one connection to a port of a pod, as a [net.Conn]. It has no deadlines: who needs one closes it.
type forwarded struct {
	conn httpstream.Connection
	data httpstream.Stream
	to   int

	told  chan struct{} // closed when the other end has said how it ended
	wrong string        // what it said
	once  sync.Once
}

// open makes both streams.
func (f *forwarded) open() error {
	headers := http.Header{}
	headers.Set("port", strconv.Itoa(f.to))
	headers.Set("requestID", "0")
	headers.Set("streamType", "error")
	failure, err := f.conn.CreateStream(headers)
	if err != nil {
		return fmt.Errorf("cannot open a stream: %w", err)
	}
	_ = failure.Close() // nothing is sent on it
	headers.Set("streamType", "data")
	if f.data, err = f.conn.CreateStream(headers); err != nil {
		return fmt.Errorf("cannot open a stream: %w", err)
	}
	go func() { // ends when the connection is closed, which Close waits for
		defer close(f.told)
		text, _ := io.ReadAll(io.LimitReader(failure, maxForwardError))
		f.wrong = string(text)
	}()
	return nil
}

// Read reads from the pod. The end of the data is an error where the pod did not take the connection.
func (f *forwarded) Read(p []byte) (int, error) {
	n, err := f.data.Read(p)
	if errors.Is(err, io.EOF) {
		select {
		case <-f.told:
			if f.wrong != "" {
				return n, errors.New(f.wrong)
			}
		case <-time.After(forwardTell):
		}
	}
	return n, err
}

// forwardTell is how long the reason for an end is waited for: it is sent at the same time.
const forwardTell = 200 * time.Millisecond

func (f *forwarded) Write(p []byte) (int, error) { return f.data.Write(p) }

// CloseWrite tells the pod that nothing more comes. What a kubelet makes of it is its container runtime's: containerd ends the whole
// connection a second later.
func (f *forwarded) CloseWrite() error { return f.data.Close() }

// Close ends the connection.
func (f *forwarded) Close() (err error) {
	f.once.Do(func() {
		err = f.conn.Close()
		<-f.told
	})
	return err
}

func (f *forwarded) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (f *forwarded) RemoteAddr() net.Addr             { return &net.TCPAddr{Port: f.to} }
func (f *forwarded) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (f *forwarded) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (f *forwarded) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
