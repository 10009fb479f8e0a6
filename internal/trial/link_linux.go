package trial

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// links changes the links of the network namespace of the thread that opened it.
type links struct{ conn *netlink.Conn }

func openLinks(ctx context.Context) (*links, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	if err := conn.SetDeadline(deadline(ctx)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &links{conn}, nil
}

func (l *links) Close() error { return l.conn.Close() }

// deadline is when a trial has to be done: a netlink socket knows no context.
func deadline(ctx context.Context) time.Time {
	if d, ok := ctx.Deadline(); ok {
		return d
	}
	return time.Now().Add(defaultLimit)
}

// Types of attributes of linux/if_link.h and linux/veth.h that golang.org/x/sys does not have in a usable form.
const vethPeer = 1 // VETH_INFO_PEER

// linkMessage is struct ifinfomsg of linux/rtnetlink.h.
func linkMessage(flags, change uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], change)
	return b
}

// request sends one message and waits for the kernel's answer.
func (l *links) request(kind uint16, flags netlink.HeaderFlags, message []byte, attributes func(*netlink.AttributeEncoder)) error {
	encoder := netlink.NewAttributeEncoder()
	attributes(encoder)
	b, err := encoder.Encode()
	if err != nil {
		return err
	}
	_, err = l.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request | netlink.Acknowledge | flags},
		Data:   append(message, b...),
	})
	return err
}

// add makes a link; data fills in what its kind needs.
func (l *links) add(name, kind string, data func(*netlink.AttributeEncoder) error) error {
	return l.request(unix.RTM_NEWLINK, netlink.Create|netlink.Excl, linkMessage(0, 0), func(e *netlink.AttributeEncoder) {
		e.String(unix.IFLA_IFNAME, name)
		e.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
			info.String(unix.IFLA_INFO_KIND, kind)
			info.Nested(unix.IFLA_INFO_DATA, data)
			return nil
		})
	})
}

func (l *links) up(name string) error {
	return l.request(unix.RTM_NEWLINK, 0, linkMessage(unix.IFF_UP, unix.IFF_UP), named(name))
}

// remove takes a link away and looks whether it is gone.
func (l *links) remove(name string) error {
	if err := l.request(unix.RTM_DELLINK, 0, linkMessage(0, 0), named(name)); err != nil {
		return undone("cannot remove the link "+name, err)
	}
	switch err := l.request(unix.RTM_GETLINK, 0, linkMessage(0, 0), named(name)); {
	case err == nil:
		return fmt.Errorf("%w: the link %s is still there", errNotUndone, name)
	case !errors.Is(err, unix.ENODEV):
		return undone("cannot look for the link "+name, err)
	}
	return nil
}

func named(name string) func(*netlink.AttributeEncoder) {
	return func(e *netlink.AttributeEncoder) { e.String(unix.IFLA_IFNAME, name) }
}
