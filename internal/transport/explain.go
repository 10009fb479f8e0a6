package transport

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
	"github.com/pipeopshq/pipeops-agent/internal/wsconn"
)

// verdict makes one error of how all ways have ended: the failure that tells most, and what is different of the others.
func (d *Dialer) verdict(ctx context.Context, address string, failures []failure, config Config) error {
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return context.Cause(ctx)
	}
	type told struct {
		*reason.Error
		way way
	}
	var all []told
	for _, f := range failures {
		e := explain(f.err, f.way.to(address), address)
		if !slices.ContainsFunc(all, func(t told) bool { return t.Code == e.Code && t.Why() == e.Why() }) {
			all = append(all, told{e, f.way})
		}
		d.log().Debug("no way to the gateway", "way", f.way.String(), "err", f.err)
	}
	slices.SortStableFunc(all, func(a, b told) int { return cmp.Compare(weight(a.Code), weight(b.Code)) })
	first := all[0].Error
	if first.Code == reason.HostClock {
		first = d.clock(ctx, address, all[0].way, first, config)
	}
	if len(all) == 1 {
		return first
	}
	why := []string{first.Why()}
	for _, t := range all[1:] {
		why = append(why, t.Why())
	}
	e := reason.New(first.Code, strings.Join(why, "; "), nil)
	return e.WithFix(first.Fix)
}

// weight orders reasons: what an authenticated gateway says, what else answers in its place, what is on the way, nothing.
func weight(code reason.Code) int {
	order := []reason.Code{
		reason.HostClock, reason.GatewayIntercepted, reason.GatewayUntrusted, reason.GatewayProtocol,
		reason.GatewayProxy, reason.GatewayUnreachable, reason.GatewayName, // a name that only the proxy knows is usual
	}
	return slices.Index(order, code) // what the gateway itself says is not among them, and comes first
}

// Explain says why a gateway could not be reached or trusted.
func Explain(err error, address string) *reason.Error { return explain(err, address, address) }

// explain is Explain where what was reached, and by which way, is told as where.
func explain(err error, where, address string) *reason.Error {
	var known *reason.Error
	if errors.As(err, &known) {
		return known
	}
	var refused *proxyError
	if errors.As(err, &refused) {
		return refused.explain(address)
	}
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var lookup *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired: // the authority is the right one
		return reason.New(reason.HostClock, "the certificate of "+where+" is valid from "+stamp(invalid.Cert.NotBefore)+" to "+stamp(invalid.Cert.NotAfter), invalid)
	case errors.As(err, &verification) && len(verification.UnverifiedCertificates) > 0:
		return Untrusted(where, verification.UnverifiedCertificates[0])
	case errors.As(err, &record):
		return reason.Newf(reason.GatewayProtocol, "%s answers, but not by TLS", where)
	case errors.As(err, &op) && op.Op == "remote error" && olds(op.Err): // a TLS alert
		return reason.New(reason.GatewayProtocol, where, op.Err)
	case errors.As(err, &op) && op.Op == "remote error":
		return reason.New(reason.GatewayRefused, where, op.Err)
	case errors.Is(err, wsconn.ErrUpgrade), strings.Contains(err.Error(), "tls: server selected unsupported protocol version"):
		return reason.New(reason.GatewayProtocol, where, err)
	case errors.As(err, &lookup):
		return reason.New(reason.GatewayName, where, err)
	}
	return reason.New(reason.GatewayUnreachable, where, err)
}

// olds reports whether an alert is that of an end which speaks none of our protocols (RFC 8446, 6; RFC 7301).
func olds(err error) bool {
	const protocolVersion, noApplicationProtocol = tls.AlertError(70), tls.AlertError(120)
	return err.Error() == protocolVersion.Error() || err.Error() == noApplicationProtocol.Error() // those that come in are of another type
}

// explain says why a proxy does not lead to the gateway.
func (p *proxyError) explain(address string) *reason.Error {
	var lookup *net.DNSError
	e := reason.New(reason.GatewayProxy, "the proxy "+p.proxy, p.err)
	switch {
	case p.password:
		return e.WithFix("give user and password of the proxy in its address: proxy.https in config.yaml, PIPEOPS_PROXY or HTTPS_PROXY")
	case p.forbids:
		return e.WithFix("let the proxy allow CONNECT to " + address + ", or name that in no_proxy if it is reached without the proxy")
	case p.beyond:
		e.Entry = reason.Lookup(reason.GatewayUnreachable)
		e.Evidence += ", asked for " + address
		return e
	case errors.As(p.err, &lookup):
		return e.WithFix("check the name of the proxy, and the name servers of this machine")
	}
	return e.WithFix("check the address of the proxy: proxy.https in config.yaml, PIPEOPS_PROXY or HTTPS_PROXY")
}

// Untrusted says who has shown a certificate in the gateway's place. A certificate for the fixed name that agents ask for, of
// another issuer than a gateway's CA, was made on the way.
func Untrusted(where string, leaf *x509.Certificate) *reason.Error {
	code := reason.GatewayUntrusted
	if slices.Contains(leaf.DNSNames, wire.GatewayName) && leaf.Issuer.CommonName != wire.AuthorityName {
		code = reason.GatewayIntercepted
	}
	return reason.Newf(code, "%s presents a certificate for %s, issued by %s", where, names(leaf), printable(leaf.Issuer.String()))
}

func names(c *x509.Certificate) string {
	if len(c.DNSNames) > 0 {
		return printable(strings.Join(c.DNSNames[:min(3, len(c.DNSNames))], ", "))
	}
	return printable(c.Subject.String())
}

// printable keeps what a stranger's certificate says from steering the terminal that shows it, or from filling it.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
	return s[:min(len(s), 200)]
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
