package trial

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Names of the links that trials make, in namespaces of their own.
const (
	vethName  = "pipeops-a"
	peerName  = "pipeops-b"
	vxlanName = "pipeops-vxlan"
)

// netns makes a network namespace as a pod gets one: with lo, over which a packet is sent, and one end of a veth pair.
func netns() Trial {
	return Trial{Name: Netns, Title: "make a network namespace with links", Run: func(ctx context.Context, _ Env) (Result, error) {
		return Result{}, inNetworkNamespace(func() error { return useNetns(ctx) })
	}}
}

func useNetns(ctx context.Context) (err error) {
	l, err := openLinks(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := l.up("lo"); err != nil {
		return fmt.Errorf("cannot bring up lo in a network namespace: %w", err)
	}
	if err := sendToOneself(); err != nil {
		return fmt.Errorf("cannot send over lo in a network namespace: %w", err)
	}
	err = l.add(vethName, "veth", func(data *netlink.AttributeEncoder) error {
		data.Do(vethPeer, func() ([]byte, error) {
			peer := netlink.NewAttributeEncoder()
			peer.String(unix.IFLA_IFNAME, peerName)
			b, err := peer.Encode()
			return append(linkMessage(0, 0), b...), err
		})
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot make a veth pair: %w", err)
	}
	up := errors.Join(l.up(vethName), l.up(peerName))
	if err := l.remove(vethName); err != nil { // its peer goes with it
		return err
	}
	if up != nil {
		return fmt.Errorf("cannot bring up a veth pair: %w", up)
	}
	return nil
}

// sendToOneself sends a datagram to 127.0.0.1 and receives it. The socket is made by system calls of this thread: package
// net may use another, which is in another namespace.
func sendToOneself() (err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	limit := unix.NsecToTimeval(patience.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	own, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	const message = "trial"
	if err := unix.Sendto(fd, []byte(message), 0, own); err != nil {
		return err
	}
	got := make([]byte, 2*len(message))
	n, _, err := unix.Recvfrom(fd, got, 0)
	if err != nil {
		return err
	}
	if string(got[:n]) != message {
		return fmt.Errorf("%q arrived as %q", message, got[:n])
	}
	return nil
}
