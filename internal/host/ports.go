package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// Listener is a port on which some program listens, on whatever address.
type Listener struct {
	Proto string `json:"proto"` // "tcp" or "udp"
	Port  int    `json:"port"`
	Owner string `json:"owner"`        // name of the process; "" is unknown
	PID   int    `json:"pid,omitzero"` // of the owner; 0 is unknown
}

// ListenerOn returns who listens on a port. The second result is unknown if the listening ports are.
func (f Facts) ListenerOn(proto string, port int) (Listener, Known[bool]) {
	if f.Listening == nil {
		return Listener{}, Known[bool]{}
	}
	for _, l := range f.Listening {
		if l.Proto == proto && l.Port == port {
			return l, Is(true)
		}
	}
	return Listener{}, Is(false)
}

func portsProbe() Probe {
	return Probe{Name: "ports", Run: func(ctx context.Context, s *System) (Part, error) {
		if l := s.Snapshot().Listening; l != nil {
			return func(f *Facts) { f.Listening = l }, nil
		}
		sockets, err := readSockets(s)
		if err != nil {
			return nil, err
		}
		owners := map[uint64]Process{}
		if s.Live() {
			owners, err = socketOwners(ctx, s, sockets)
		}
		all := []Listener{}
		for _, k := range sockets {
			o := owners[k.inode]
			all = append(all, Listener{Proto: k.proto, Port: k.port, Owner: o.Name, PID: o.PID})
		}
		// of several sockets of one port (IPv4 and IPv6, or SO_REUSEPORT) keep one, rather with than without owner
		slices.SortFunc(all, func(a, b Listener) int {
			return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Port, b.Port), cmp.Compare(b.Owner, a.Owner), cmp.Compare(a.PID, b.PID))
		})
		all = slices.CompactFunc(all, func(a, b Listener) bool { return a.Proto == b.Proto && a.Port == b.Port })
		return func(f *Facts) { f.Listening = all }, err
	}}
}

type socket struct {
	proto string
	port  int
	inode uint64
}

// readSockets returns the listening sockets of our network namespace.
func readSockets(s *System) ([]socket, error) {
	var all []socket
	found := false
	for _, name := range []string{"tcp", "tcp6", "udp", "udp6"} {
		b, err := s.ReadFile("/proc/net/" + name)
		if errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the listening ports: %w", err)
		}
		found = true
		all = append(all, parseSockets(b, strings.TrimSuffix(name, "6"))...)
	}
	if !found {
		return nil, errors.New("cannot read the listening ports: /proc/net has no tables")
	}
	return all, nil
}

// parseSockets reads /proc/net/tcp, udp and their IPv6 forms, in which a listening TCP socket has state 0A, and an UDP
// socket that waits for anybody state 07 and no remote port.
func parseSockets(b []byte, proto string) []socket {
	want := "0A"
	if proto == "udp" {
		want = "07"
	}
	var all []socket
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line) // sl local remote state queues timer retransmits uid timeout inode
		if len(f) < 10 || f[3] != want {
			continue
		}
		_, local, ok := strings.Cut(f[1], ":")
		_, remote, ok2 := strings.Cut(f[2], ":")
		port, err := strconv.ParseUint(local, 16, 16)
		if !ok || !ok2 || err != nil || port == 0 || proto == "udp" && strings.Trim(remote, "0") != "" {
			continue
		}
		inode, _ := strconv.ParseUint(f[9], 10, 64) // 0: no owner to be found
		all = append(all, socket{proto: proto, port: int(port), inode: inode})
	}
	return all
}
