package identity

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/transport"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// otherAfter is how long one gateway may take before the next one is dialled, where there are several.
const otherAfter = 5 * time.Second

// Client returns a client for the HTTPS paths of the gateway, such as wire.PathEvents, and their base URL. The gateway is reached
// by way of through; nil is directly. Where the gateway of the identity does not answer, another one that is known of is asked.
func (i *Identity) Client(through *transport.Dialer) (client *http.Client, base string) {
	return &http.Client{Transport: &http.Transport{
		MaxResponseHeaderBytes: wire.MaxHeader,
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return i.dial(ctx, through)
		},
	}}, "https://" + i.Gateway()
}

// dial connects to the first gateway that answers.
func (i *Identity) dial(ctx context.Context, through *transport.Dialer) (net.Conn, error) {
	all := i.Addresses()
	var failures []error
	for n, address := range all {
		turn, cancel := ctx, context.CancelFunc(func() {})
		if n < len(all)-1 {
			turn, cancel = context.WithTimeout(ctx, otherAfter)
		}
		conn, err := through.HTTPS(turn, address, i.Config)
		cancel()
		if err == nil {
			return conn, nil
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(failures...)
}

// Addresses returns where a gateway may be, each host:port: that of the identity, then those that a gateway has told of.
func (i *Identity) Addresses() []string {
	return wire.Addresses(i.Gateway(), i.Gateways())
}
