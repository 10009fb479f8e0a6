package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	socks "golang.org/x/net/proxy"

	"github.com/pipeopshq/pipeops-agent/internal/proxy"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// connect makes the connection of a way to address.
func (d *Dialer) connect(ctx context.Context, address string, w way) (net.Conn, error) {
	if w.proxy == nil {
		return d.dial(ctx, address)
	}
	conn, err := d.throughProxy(ctx, address, w)
	if err != nil {
		var told *proxyError
		if !errors.As(err, &told) {
			told = &proxyError{err: err}
		}
		told.proxy = proxy.ShownURL(w.proxy)
		return nil, told
	}
	return conn, nil
}

func (d *Dialer) throughProxy(ctx context.Context, address string, w way) (net.Conn, error) {
	socket, err := d.dial(ctx, withPort(w.proxy))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, stageTimeout, fmt.Errorf("no answer within %s", stageTimeout))
	defer cancel()
	conn := socket
	switch w.proxy.Scheme {
	case "socks5", "socks5h":
		err = overSOCKS(ctx, conn, address, w.proxy.User)
	case "https":
		secured := tls.Client(socket, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: w.proxy.Hostname(), RootCAs: d.Roots, NextProtos: []string{http1}})
		if err = secured.HandshakeContext(ctx); err != nil {
			break
		}
		conn = secured
		fallthrough
	default:
		err = overHTTP(ctx, conn, address, w.proxy.User)
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = socket.Close()
		return nil, err
	}
	return conn, nil
}

// dial makes a TCP connection in stageTimeout.
func (d *Dialer) dial(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, stageTimeout, fmt.Errorf("no connection within %s", stageTimeout))
	defer cancel()
	dial := d.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, "tcp", address)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return conn, err
}

// withPort returns host:port of a proxy, with the port that its scheme has in other programs in Go if none is given.
func withPort(u *url.URL) string {
	if port := u.Port(); port != "" {
		return net.JoinHostPort(u.Hostname(), port)
	}
	return net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme])
}

// proxyError is a proxy that makes no connection. It never holds user and password.
type proxyError struct {
	proxy    string // its address, as it is shown
	password bool   // it wants another user or password
	forbids  bool   // it does not let us to the gateway
	beyond   bool   // it would, and does not get there itself
	err      error
}

func (p *proxyError) Error() string { return p.proxy + ": " + p.err.Error() }
func (p *proxyError) Unwrap() error { return p.err }

// overHTTP asks an HTTP proxy for a connection to address (RFC 9110, 9.3.6).
func overHTTP(ctx context.Context, conn net.Conn, address string, user *url.Userinfo) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{"User-Agent": {"pipeops-agent"}}}
	if user != nil {
		password, _ := user.Password()
		request.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := request.Write(conn); err != nil {
		return err
	}
	// A proxy may name itself, set cookies and say why in a page of any size: no more is read of it than of any header.
	answer := bufio.NewReader(io.LimitReader(conn, wire.MaxHeader))
	response, err := http.ReadResponse(answer, request)
	if err != nil {
		return fmt.Errorf("what it answers is no HTTP: %w", err)
	}
	_ = response.Body.Close()
	code := response.StatusCode
	said := fmt.Errorf("it answers %s", strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))) // its own words are nothing that a terminal should get
	switch {
	case code == http.StatusProxyAuthRequired:
		if schemes := schemes(response.Header.Values("Proxy-Authenticate")); len(schemes) > 0 {
			said = fmt.Errorf("%w and knows %s", said, strings.Join(schemes, ", "))
		}
		return &proxyError{password: true, err: said}
	case code >= 500:
		return &proxyError{beyond: true, err: said}
	case code/100 != 2:
		return &proxyError{forbids: true, err: said}
	case answer.Buffered() > 0: // those that speak TLS wait for us
		return errors.New("it sends more than its answer")
	}
	return nil
}

// schemes returns the names of the ways to log in that a proxy offers.
func schemes(offers []string) []string {
	var all []string
	for _, o := range offers {
		name, _, _ := strings.Cut(strings.TrimSpace(o), " ")
		if len(name) > 0 && len(name) <= 20 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == "" && len(all) < 5 {
			all = append(all, name)
		}
	}
	return all
}

// overSOCKS asks a SOCKS5 proxy for a connection to address (RFC 1928, 1929), whose name it looks up itself.
func overSOCKS(ctx context.Context, conn net.Conn, address string, user *url.Userinfo) error {
	var auth *socks.Auth
	if user != nil {
		password, _ := user.Password()
		auth = &socks.Auth{User: user.Username(), Password: password}
	}
	// The library sets the deadline of ctx on the connection; which of the two ends first would decide on the error.
	waited, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	dialer, err := socks.SOCKS5("tcp", conn.RemoteAddr().String(), auth, given{conn})
	if err == nil {
		_, err = dialer.(socks.ContextDialer).DialContext(waited, "tcp", address) // it wraps conn, and adds nothing to it
	}
	if err == nil {
		return nil
	}
	var op *net.OpError // its addresses are told already
	if errors.As(err, &op) {
		err = op.Err
	}
	text := strings.TrimPrefix(err.Error(), "unknown error ") // the words of golang.org/x/net/internal/socks
	told := &proxyError{err: errors.New("it says: " + text)}
	switch text {
	case "connection not allowed by ruleset":
		told.forbids = true
	case "no acceptable authentication methods", "username/password authentication failed", "invalid username/password", "unsupported authentication method 255":
		told.password = true
	case "general SOCKS server failure", "network unreachable", "host unreachable", "connection refused", "TTL expired":
		told.beyond = true
	default:
		told.err = err
	}
	return told
}

// given is a dialer that has its connection.
type given struct{ net.Conn }

func (g given) Dial(string, string) (net.Conn, error) { return g.Conn, nil }

func (g given) DialContext(context.Context, string, string) (net.Conn, error) { return g.Conn, nil }
