package cluster

import (
	"errors"
	"net"
	"net/http"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

// A connection to the API server that has died without a word must not be used for the 15 minutes that Linux gives it
// (kubernetes/kubernetes#95981, client-go#374). After silence of upstreamSilence the server is asked for a sign of life, and
// upstreamPong later the connection is given up, with what runs on it. client-go itself takes 30 s and 15 s.
const (
	upstreamSilence = 15 * time.Second
	upstreamPong    = 10 * time.Second
	upstreamDial    = 30 * time.Second
)

// upstreamDialer dials the API server. The kernel asks on connections that have no pings of their own: those of upgrades. It gives no
// limit to data that is not acknowledged (TCP_USER_TIMEOUT): that one also ends a connection whose other end takes its time to read,
// as a program does that does not read its input yet.
func upstreamDialer() *net.Dialer {
	return &net.Dialer{
		Timeout:         upstreamDial,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: upstreamSilence, Interval: upstreamPong / 2, Count: 2},
	}
}

// upstreamTransport makes a transport for the API server. It has no limit of time for a request, its body or its answer.
func upstreamTransport(config *rest.Config) (http.RoundTripper, error) {
	config = rest.CopyConfig(config)
	if config.Dial == nil {
		config.Dial = upstreamDialer().DialContext
	}
	all, err := rest.TransportFor(config)
	if err != nil {
		return nil, err
	}
	inner := all
	for {
		switch t := inner.(type) {
		case *http.Transport:
			if t == http.DefaultTransport { // everybody's: it is not ours to change, and without TLS there is no HTTP/2
				return all, nil
			}
			// A Dial makes the transport this configuration's alone, so that nobody uses it yet.
			t.HTTP2 = &http.HTTP2Config{SendPingTimeout: upstreamSilence, PingTimeout: upstreamPong}
			return all, nil
		case utilnet.RoundTripperWrapper:
			inner = t.WrappedRoundTripper()
		default:
			return nil, errors.New("the transport of client-go is of a kind that has no pings")
		}
	}
}
