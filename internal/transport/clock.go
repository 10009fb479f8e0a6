package transport

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// clockTimeout bounds the question for the time: it is asked for the sake of an error only.
	clockTimeout = 5 * time.Second
	// skew is by how much the clocks of an agent and its gateway may differ; certificates begin that much before they are made.
	skew = 5 * time.Minute
)

// clock completes the reason for a certificate that is not valid by our clock with what the gateway's clock says. To be told that, the
// gateway is asked once more, with its certificate judged by a time at which it is valid: CA, name and key are proved as ever.
func (d *Dialer) clock(ctx context.Context, address string, w way, e *reason.Error, config Config) *reason.Error {
	var invalid x509.CertificateInvalidError
	if !errors.As(e.Err, &invalid) {
		return e
	}
	ours := d.now()
	evidence := e.Evidence + ", but the clock of this machine says " + stamp(ours)
	told := reason.New(reason.HostClock, evidence, nil).WithFix("set the clock of this machine, or of the gateway")
	middle := invalid.Cert.NotBefore.Add(invalid.Cert.NotAfter.Sub(invalid.Cert.NotBefore) / 2)
	theirs, err := d.date(ctx, address, w, config, middle)
	if err != nil {
		d.log().Debug("the gateway was asked for the time in vain", "err", err)
		return told
	}
	told.Evidence += ", and that of the gateway " + stamp(theirs)
	if ours.Sub(theirs).Abs() > skew {
		return told.WithFix("set the clock of this machine: it is " + ours.Sub(theirs).Abs().Round(time.Minute).String() + " away from the gateway's; and let it be kept: timedatectl set-ntp true, or install chrony")
	}
	return told.WithFix("both clocks agree, so the gateway's certificate is the fault: restart the gateway, which makes a new one")
}

// date asks the gateway what time it is, trusting certificates that are valid at another time.
func (d *Dialer) date(ctx context.Context, address string, w way, config Config, at time.Time) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, clockTimeout)
	defer cancel()
	then := &Dialer{Proxy: d.Proxy, Dial: d.Dial, Roots: d.Roots, Now: func() time.Time { return at }}
	transport := &http.Transport{
		DisableKeepAlives: true, MaxResponseHeaderBytes: wire.MaxHeader,
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return then.secure(ctx, address, w, config, http1)
		},
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, "https://"+address+"/healthz", nil)
	if err != nil {
		return time.Time{}, err
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		return time.Time{}, err
	}
	_ = response.Body.Close()
	return http.ParseTime(response.Header.Get("Date"))
}
