package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"syscall"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// statusError is an answer of the API server that is no success.
type statusError struct {
	path   string
	code   int
	status string
}

// Error says what was asked and answered.
func (e *statusError) Error() string { return e.path + " answers " + e.status }

// Unauthorized reports whether the API server does not know who asks.
func Unauthorized(err error) bool {
	var answer *statusError
	return apierrors.IsUnauthorized(err) || errors.As(err, &answer) && answer.code == http.StatusUnauthorized
}

// Untrusted reports whether the server's certificate is none that the kubeconfig trusts: it is another cluster by now, or an
// expired certificate.
func Untrusted(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		unknown      x509.UnknownAuthorityError
		hostname     x509.HostnameError
		invalid      x509.CertificateInvalidError
	)
	return errors.As(err, &verification) || errors.As(err, &unknown) || errors.As(err, &hostname) || errors.As(err, &invalid)
}

// Trouble names why a cluster cannot be used by a kubeconfig, with what was seen: KUBECONFIG_INVALID, KUBECONFIG_EXEC,
// KUBECONFIG_UNTRUSTED, KUBECONFIG_REFUSED or KUBECONFIG_DEAD. where names the kubeconfig.
func Trouble(err error, where string, client *Client) error {
	var known *reason.Error
	if errors.As(err, &known) {
		return err
	}
	server := ""
	if client != nil && client.Base != nil {
		server = client.Base.String()
	}
	var (
		answer    *statusError
		invalid   x509.CertificateInvalidError
		unknown   x509.UnknownAuthorityError
		hostname  x509.HostnameError
		name      *net.DNSError
		late      net.Error
		isInvalid = errors.As(err, &invalid)
	)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission):
		return reason.New(reason.KubeconfigInvalid, where, err)
	case isInvalid && invalid.Reason == x509.Expired:
		return reason.Newf(reason.KubeconfigUntrusted, "%s: the certificate of %s is good from %s to %s", where, server,
			invalid.Cert.NotBefore.UTC().Format("2006-01-02 15:04 MST"), invalid.Cert.NotAfter.UTC().Format("2006-01-02 15:04 MST"))
	case errors.As(err, &unknown):
		return reason.Newf(reason.KubeconfigUntrusted, "%s: the certificate of %s is signed by an authority that the kubeconfig does not have", where, server)
	case errors.As(err, &hostname):
		return reason.Newf(reason.KubeconfigUntrusted, "%s: the certificate of %s is for other names", where, server)
	case Untrusted(err):
		return reason.New(reason.KubeconfigUntrusted, where+": "+server, err)
	case Unauthorized(err):
		return reason.Newf(reason.KubeconfigRefused, "%s: %s answers 401 Unauthorized: it does not know the user, or its certificate or token has ended", where, server)
	case errors.As(err, &answer):
		return reason.Newf(reason.KubeconfigDead, "%s: %s answers %s", where, server, answer.status)
	case errors.As(err, &name):
		return reason.Newf(reason.KubeconfigDead, "%s: the name %s does not resolve", where, name.Name)
	case errors.Is(err, syscall.ECONNREFUSED):
		return reason.Newf(reason.KubeconfigDead, "%s: nobody listens at %s (connection refused)", where, server)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &late) && late.Timeout():
		return reason.Newf(reason.KubeconfigDead, "%s: %s does not answer within %s", where, server, surveyTimeout)
	}
	return reason.New(reason.KubeconfigDead, fmt.Sprintf("%s: %s", where, server), err)
}
