package remains

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
		List: func(context.Context) ([]string, error) { return listLinks() },
		Remove: func(_ context.Context, before []string) ([]string, error) {
			now, err := listLinks()
			if err != nil {
				return nil, err
			}
			ours := since(now, before)
			if slices.Contains(before, podBridge) { // the bridge is somebody's, and so may be what is in it
				ours = slices.DeleteFunc(ours, func(name string) bool { return !slices.Contains(linkNames(), name) })
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

// listLinks returns the links by name: first those in the bridge of pods.
func listLinks() ([]string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("cannot list the links: %w", err)
	}
	var pods, own []string
	for _, link := range all {
		switch master, err := os.Readlink(filepath.Join("/sys/class/net", link.Name, "master")); {
		case err == nil && filepath.Base(master) == podBridge && strings.HasPrefix(link.Name, "veth"):
			pods = append(pods, link.Name)
		case slices.Contains(linkNames(), link.Name):
			own = append(own, link.Name)
		}
	}
	slices.Sort(pods)
	slices.Sort(own)
	return append(pods, own...), nil
}

func removeLink(name string) error {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil // it went with another
	}
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(netlinkTimeout)); err != nil {
		return err
	}
	message := make([]byte, unix.SizeofIfInfomsg) // struct ifinfomsg of linux/rtnetlink.h
	binary.NativeEndian.PutUint32(message[4:], uint32(link.Index))
	_, err = conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_DELLINK, Flags: netlink.Request | netlink.Acknowledge},
		Data:   message,
	})
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}
