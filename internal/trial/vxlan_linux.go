package trial

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// What flannel gives its link: documentation of its backend vxlan.
const (
	flannelVNI  = 1
	flannelPort = 8472 // UDP
)

// vxlan makes the link over which flannel sends the packets of pods from node to node, and brings it up, which opens its
// UDP port. On a Raspberry Pi with Ubuntu and on RHEL 10 the kernel module comes in a package that may be missing.
func vxlan() Trial {
	return Trial{Name: Vxlan, Title: "make a vxlan link", Run: func(ctx context.Context, _ Env) (Result, error) {
		return Result{}, inNetworkNamespace(func() error { return useVxlan(ctx) })
	}}
}

func useVxlan(ctx context.Context) (err error) {
	l, err := openLinks(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	err = l.add(vxlanName, "vxlan", func(data *netlink.AttributeEncoder) error {
		data.Uint32(unix.IFLA_VXLAN_ID, flannelVNI)
		data.Uint8(unix.IFLA_VXLAN_LEARNING, 0)
		data.Bytes(unix.IFLA_VXLAN_PORT, binary.BigEndian.AppendUint16(nil, flannelPort))
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot make a vxlan link: %w", err)
	}
	up := l.up(vxlanName)
	if err := l.remove(vxlanName); err != nil {
		return err
	}
	if up != nil {
		return fmt.Errorf("cannot bring up a vxlan link: %w", up)
	}
	return nil
}
