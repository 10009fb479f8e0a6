package remains

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// netlinkTimeout bounds one conversation with the kernel, in seconds: deleting a link waits for the last user of it.
const netlinkTimeout = 30 * time.Second

// linkNames are the links that k3s makes: the bridge of pods, those of flannel's backends, that of kube-proxy's ipvs, and
// that of the cache of names.
func linkNames() []string {
	return []string{"cni0", "flannel.1", "flannel-v6.1", "flannel-wg", "flannel-wg-v6", "kube-ipvs0", "nodelocaldns"}
}

// links are the network links of k3s; those of pods go with their bridge. Routes and addresses go with the links.
func (e Env) links() Thing {
	return Thing{
		Kind: "k3s-links", Title: "network links of pods",
		List: func(context.Context) ([]string, error) { return listLinks(e.bridge()) },
		Remove: func(_ context.Context, before []string) ([]string, error) {
			now, err := listLinks(e.bridge())
			if err != nil {
				return nil, err
			}
			ours := since(now, before)
			if slices.Contains(before, e.bridge()) { // the bridge is somebody's, and so may be what is in it
				ours = slices.DeleteFunc(ours, func(name string) bool { return !slices.Contains(linkNames(), name) && name != e.bridge() })
			}
			var left []string
			for _, name := range ours {
				if err := removeLink(name); err != nil {
					left = append(left, fmt.Sprintf("network link %s: %v", name, err))
				}
			}
			return left, nil
		},
	}
}

// link is a network link of this network namespace.
type link struct {
	index, master uint32
	name, kind    string
	up            bool
}

// allLinks asks the kernel, not /sys, which may be that of another network namespace.
func allLinks() ([]link, error) { return linksOf(nil) }

// linksOf asks in the network namespace that the configuration names; nil means this one.
func linksOf(in *netlink.Config) ([]link, error) {
	answers, err := route(in, unix.RTM_GETLINK, netlink.Dump, make([]byte, unix.SizeofIfInfomsg))
	if err != nil {
		return nil, fmt.Errorf("cannot list the links: %w", err)
	}
	var all []link
	for _, m := range answers {
		if len(m.Data) < unix.SizeofIfInfomsg {
			continue
		}
		l := link{
			index: binary.NativeEndian.Uint32(m.Data[4:]),
			up:    binary.NativeEndian.Uint32(m.Data[8:])&unix.IFF_UP != 0,
		}
		d, err := netlink.NewAttributeDecoder(m.Data[unix.SizeofIfInfomsg:])
		if err != nil {
			return nil, fmt.Errorf("cannot list the links: %w", err)
		}
		for d.Next() {
			switch d.Type() {
			case unix.IFLA_IFNAME:
				l.name = d.String()
			case unix.IFLA_MASTER:
				l.master = d.Uint32()
			case unix.IFLA_LINKINFO:
				d.Nested(func(info *netlink.AttributeDecoder) error {
					for info.Next() {
						if info.Type() == unix.IFLA_INFO_KIND {
							l.kind = info.String()
						}
					}
					return nil
				})
			}
		}
		if err := d.Err(); err != nil {
			return nil, fmt.Errorf("cannot list the links: %w", err)
		}
		all = append(all, l)
	}
	return all, nil
}

// listLinks returns the links of k3s by name: first those in the bridge of pods.
func listLinks(podBridge string) ([]string, error) {
	all, err := allLinks()
	if err != nil {
		return nil, err
	}
	bridge := uint32(0)
	for _, l := range all {
		if l.name == podBridge {
			bridge = l.index
		}
	}
	var pods, own []string
	for _, l := range all {
		switch {
		case bridge != 0 && l.master == bridge && l.kind == "veth":
			pods = append(pods, l.name)
		case l.name == podBridge, slices.Contains(linkNames(), l.name):
			own = append(own, l.name)
		}
	}
	slices.Sort(pods)
	slices.Sort(own)
	return append(pods, own...), nil
}

// bridges lists the bridges of others that are up.
func bridges() []string {
	all, err := allLinks()
	if err != nil {
		return nil
	}
	var names []string
	for _, l := range all {
		if l.kind == "bridge" && l.up && l.name != podBridge {
			names = append(names, l.name)
		}
	}
	return names
}

func removeLink(name string) error {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil // it went with another
	}
	message := make([]byte, unix.SizeofIfInfomsg) // struct ifinfomsg of linux/rtnetlink.h
	binary.NativeEndian.PutUint32(message[4:], uint32(link.Index))
	_, err = route(nil, unix.RTM_DELLINK, netlink.Acknowledge, message)
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// route sends one request to the kernel's part for links and returns its answers.
func route(in *netlink.Config, kind netlink.HeaderType, flags netlink.HeaderFlags, message []byte) ([]netlink.Message, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, in)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(netlinkTimeout)); err != nil {
		return nil, err
	}
	return conn.Execute(netlink.Message{Header: netlink.Header{Type: kind, Flags: netlink.Request | flags}, Data: message})
}
