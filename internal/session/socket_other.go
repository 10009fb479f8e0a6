//go:build !linux

package session

import "net"

// Tune leaves a connection as it is: the options of its socket are those of Linux.
func Tune(net.Conn) error { return nil }
