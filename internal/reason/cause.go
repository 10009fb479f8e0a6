package reason

import (
	"errors"
	"net"
	"net/url"
	"strings"
	"syscall"
)

// Why joins the evidence with its cause, in one line. Of a failure of the network only what happened is told: the request
// and the address, which Go's own words repeat, stand in the evidence.
func (e *Error) Why() string {
	switch {
	case e.Err == nil:
		return e.Evidence
	case e.Evidence == "":
		return cause(e.Err)
	}
	return e.Evidence + ": " + cause(e.Err)
}

func cause(err error) string {
	bare := err
	if request, ok := err.(*url.Error); ok { //nolint:errorlint // one that is wrapped has words around it that count
		bare = request.Err
	}
	op, ok := bare.(*net.OpError) //nolint:errorlint // likewise
	if !ok || op.Op != "dial" {
		return err.Error()
	}
	var lookup *net.DNSError
	var number syscall.Errno
	switch {
	case errors.As(op, &lookup) && lookup.IsNotFound:
		return "there is no host " + lookup.Name
	case errors.As(op, &lookup):
		text := lookup.Err[strings.LastIndex(lookup.Err, ": ")+1:]
		return "the name " + lookup.Name + " cannot be looked up at " + lookup.Server + ": " + strings.TrimSpace(text)
	case errors.As(op, &number):
		return number.Error()
	case op.Timeout():
		return "no answer in time"
	}
	return err.Error()
}
