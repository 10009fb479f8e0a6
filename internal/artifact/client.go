package artifact

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/proxy"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// NewClient returns a client for mirrors: through the proxy, if there is one, no redirect from https to http, limits on
// everything but the length of a body, whose pace [Fetcher] watches. A host with addresses of both families is dialled
// over IPv6 and, 300 ms later or when that fails, over IPv4 too (RFC 6555): a family that leads nowhere costs no more.
func NewClient(p proxy.Proxy) *http.Client { return newClient(p, nil) }

func newClient(p proxy.Proxy, resolver *net.Resolver) *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second, Resolver: resolver}
	through := p.Function()
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 func(r *http.Request) (*url.URL, error) { return through(r.URL) },
			DialContext:           dialer.DialContext,
			ForceAttemptHTTP2:     true,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: 30 * time.Second,
			IdleConnTimeout:       30 * time.Second,
			DisableCompression:    true, // lengths and ranges are those of the file
			OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
				if resp.StatusCode == http.StatusOK {
					return nil
				}
				return &refusedError{resp.StatusCode}
			},
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) >= 10 {
				return errors.New("more than 10 redirects")
			}
			if last := via[len(via)-1].URL; last.Scheme == "https" && req.URL.Scheme != "https" {
				return fmt.Errorf("%s redirects to %s, which is not https", last.Host, req.URL.Host)
			}
			return nil
		},
	}
}

// refusedError is a proxy that makes no connection.
type refusedError struct{ code int }

func (p *refusedError) Error() string { return "the proxy answers " + status(p.code) }

// status tells a status in the words of HTTP. Those of the other end are nothing that a terminal should get.
func status(code int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))
}

// final reports whether asking again is of no use: the proxy wants a password, or does not let us there.
func (p *refusedError) final() bool { return p.code >= 400 && p.code < 500 }

func (p *refusedError) reason(address string) *reason.Error {
	err := reason.New(reason.DownloadFailed, address, p)
	if p.code == http.StatusProxyAuthRequired {
		return err.WithFix("give user and password of the proxy in its address: proxy.https in config.yaml, PIPEOPS_PROXY or HTTPS_PROXY")
	}
	return err.WithFix("let the proxy allow this address, or give a mirror by --mirror that is reached without it")
}
