package artifact

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// NewClient returns a client for mirrors: proxies from the environment, no redirect from https to http, limits on
// everything but the length of a body, whose pace [Fetcher] watches.
func NewClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
			ForceAttemptHTTP2:     true,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: 30 * time.Second,
			IdleConnTimeout:       30 * time.Second,
			DisableCompression:    true, // lengths and ranges are those of the file
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
