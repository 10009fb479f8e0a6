package remains

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Of linux/netfilter/ipset/ip_set.h and linux/netfilter/nfnetlink_acct.h.
const (
	subsysSets     = 6 // NFNL_SUBSYS_IPSET
	subsysCounters = 7 // NFNL_SUBSYS_ACCT

	setDestroy       = 3 // IPSET_CMD_DESTROY
	setList          = 7 // IPSET_CMD_LIST
	setAttrProtocol  = 1
	setAttrName      = 2
	setAttrFlags     = 6
	setFlagNames     = 2 // IPSET_FLAG_LIST_SETNAME
	setProtocol      = 6
	counterGet       = 1 // NFNL_MSG_ACCT_GET
	counterDelete    = 3 // NFNL_MSG_ACCT_DEL
	counterAttrName  = 1
	nfgenmsg         = 4 // size of struct nfgenmsg
	netfilterVersion = 0 // NFNETLINK_V0
)

// sets are the sets of addresses of kube-router's network policies and of kube-proxy's ipvs, by name.
func (e Env) sets() Thing {
	return Thing{
		Kind: "k3s-sets", Title: "sets of addresses",
		List: func(context.Context) ([]string, error) { return listSets() },
		Remove: func(_ context.Context, before []string) ([]string, error) {
			now, err := listSets()
			if err != nil {
				return []string{"sets of addresses: " + err.Error()}, nil
			}
			var left []string
			for _, name := range since(now, before) {
				_, err := netfilter(subsysSets, setDestroy, netlink.Acknowledge, func(a *netlink.AttributeEncoder) {
					a.Uint8(setAttrProtocol, setProtocol)
					a.String(setAttrName, name)
				})
				if err != nil && !errors.Is(err, unix.ENOENT) {
					left = append(left, fmt.Sprintf("set %s: %v", name, err))
				}
			}
			return left, nil
		},
	}
}

// listSets names the sets that are k3s's by their names. Where no set was ever made, the kernel is not asked.
func listSets() ([]string, error) {
	if _, err := os.Stat("/sys/module/ip_set"); err != nil {
		return nil, nil
	}
	answers, err := netfilter(subsysSets, setList, netlink.Dump, func(a *netlink.AttributeEncoder) {
		a.Uint8(setAttrProtocol, setProtocol)
		a.ByteOrder = binary.BigEndian
		a.Uint32(setAttrFlags|unix.NLA_F_NET_BYTEORDER, setFlagNames)
	})
	if err != nil {
		return nil, err
	}
	all := namesIn(answers, setAttrName)
	return slices.DeleteFunc(all, func(name string) bool {
		name = strings.TrimPrefix(name, "inet6:")
		return !strings.HasPrefix(name, "KUBE-") && !strings.HasPrefix(name, "kube-router-")
	}), nil
}

// counters are the counters of packets that kube-proxy makes, by name.
func (e Env) counters() Thing {
	return Thing{
		Kind: "k3s-counters", Title: "counters of packets",
		List: func(context.Context) ([]string, error) { return listCounters() },
		Remove: func(_ context.Context, before []string) ([]string, error) {
			now, err := listCounters()
			if err != nil {
				return []string{"counters of packets: " + err.Error()}, nil
			}
			var left []string
			for _, name := range since(now, before) {
				_, err := netfilter(subsysCounters, counterDelete, netlink.Acknowledge, func(a *netlink.AttributeEncoder) {
					a.String(counterAttrName, name)
				})
				if err != nil && !errors.Is(err, unix.ENOENT) {
					left = append(left, fmt.Sprintf("counter %s: %v", name, err))
				}
			}
			return left, nil
		},
	}
}

// listCounters names those of kube-proxy (proxier.go of its mode iptables).
func listCounters() ([]string, error) {
	if _, err := os.Stat("/sys/module/nfnetlink_acct"); err != nil && !hasNFTables() {
		return nil, nil
	}
	answers, err := netfilter(subsysCounters, counterGet, netlink.Dump, nil)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) { // a kernel without them
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(namesIn(answers, counterAttrName), func(name string) bool {
		return name != "ct_state_invalid_dropped_pkts" && name != "localhost_nps_accepted_pkts"
	}), nil
}

// netfilter sends one request to a part of netfilter and returns its answers.
func netfilter(subsystem, command uint16, flags netlink.HeaderFlags, attributes func(*netlink.AttributeEncoder)) ([]netlink.Message, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(netlinkTimeout)); err != nil {
		return nil, err
	}
	encoder := netlink.NewAttributeEncoder()
	if attributes != nil {
		attributes(encoder)
	}
	b, err := encoder.Encode()
	if err != nil {
		return nil, err
	}
	return conn.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(subsystem<<8 | command), Flags: netlink.Request | flags},
		Data:   append([]byte{unix.AF_UNSPEC, netfilterVersion, 0, 0}, b...),
	})
}

// namesIn takes one attribute out of each answer, sorted.
func namesIn(answers []netlink.Message, attribute uint16) []string {
	var all []string
	for _, m := range answers {
		if len(m.Data) < nfgenmsg {
			continue
		}
		d, err := netlink.NewAttributeDecoder(m.Data[nfgenmsg:])
		if err != nil {
			continue
		}
		for d.Next() {
			if d.Type() == attribute {
				all = append(all, d.String())
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
