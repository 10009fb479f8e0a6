package main

import (
	"errors"
	"net"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// checkAddresses refuses what is no address, before anything is made: the names go into certificates and kubeconfigs.
func checkAddresses(listen string, advertise []string) error {
	if _, port, err := net.SplitHostPort(listen); err != nil || !isPort(port) && port != "0" {
		return reason.Newf(reason.Usage, "--listen %q: want an address and a port, or the port alone, such as :8443", listen)
	}
	for _, a := range advertise {
		host, port, err := net.SplitHostPort(a)
		if err != nil {
			host, port = strings.Trim(a, "[]"), "443"
		}
		if net.ParseIP(host) == nil && !regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`).MatchString(host) || !isPort(port) {
			return reason.Newf(reason.Usage, "--advertise %q: want a name or an address, with a port if it is another, such as gateway.example.com", a)
		}
	}
	return nil
}

// checkOwn refuses what others could not dial.
func checkOwn(announce []string, between string) error {
	for _, a := range announce {
		if !wire.ValidAddress(a) {
			return reason.Newf(reason.Usage, "--announce %q: want host:port, such as gw1.example.com:8443", a)
		}
	}
	if between != "" && !wire.ValidAddress(between) {
		return reason.Newf(reason.Usage, "--between %q: want host:port, such as 10.0.0.1:8443", between)
	}
	return nil
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

// cannotListen says why nobody can be heard on the address.
func cannotListen(listen string, err error) error {
	why := err
	var number syscall.Errno
	if errors.As(err, &number) {
		why = number
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return reason.New(reason.NetPortTaken, listen, why)
	case errors.Is(err, syscall.EACCES):
		return reason.New(reason.HostNotRoot, listen, why)
	}
	return reason.New(reason.Usage, "--listen "+listen, why)
}
