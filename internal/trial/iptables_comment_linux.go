package trial

import (
	"context"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// iptablesComment makes a rule with a comment, as each rule of kube-proxy has one. k3s brings an iptables that takes
// whichever back end works, so one of them is enough: nftables with nft_compat, or the old interface of ip_tables.
// RHEL 10 has xt_comment and nft_compat in a package of its own (kops issues 18179, 18724); without, every Service fails.
func iptablesComment() Trial {
	return Trial{Name: IPTablesComment, Title: "make an iptables rule with a comment", Run: func(ctx context.Context, _ Env) (Result, error) {
		byNft := inNetworkNamespace(func() error { return useRule(ctx, commentMatch(tableName)) })
		if byNft == nil || errors.Is(byNft, errNotUndone) {
			return Result{Detail: "by nftables"}, byNft
		}
		byTables := inNetworkNamespace(legacyComment)
		if errors.Is(byTables, unix.ENOPROTOOPT) && loadTables(ctx) == nil {
			byTables = inNetworkNamespace(legacyComment)
		}
		if byTables == nil || errors.Is(byTables, errNotUndone) {
			return Result{Detail: "by ip_tables; not by nftables: " + byNft.Error()}, byTables
		}
		return Result{}, fmt.Errorf("%w; %w", byNft, byTables)
	}}
}

// Of linux/netfilter_ipv4/ip_tables.h and linux/netfilter/x_tables.h.
const (
	iptGetInfo          = 64 // IPT_SO_GET_INFO
	iptInfo             = 84 // bytes of struct ipt_getinfo, which begins with the table's name
	iptGetRevisionMatch = 66 // IPT_SO_GET_REVISION_MATCH
	xtRevision          = 30 // bytes of struct xt_get_revision: the match's name, and its revision in the last
)

// legacyComment asks ip_tables for its filter table and for the match; asking makes the kernel load their modules.
func legacyComment() (err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return fmt.Errorf("cannot open a raw socket: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	info := make([]byte, iptInfo)
	copy(info, "filter")
	if err := getsockopt(fd, iptGetInfo, info); err != nil {
		return fmt.Errorf("cannot open the filter table of ip_tables: %w", err)
	}
	match := make([]byte, xtRevision)
	copy(match, "comment")
	if err := getsockopt(fd, iptGetRevisionMatch, match); err != nil {
		return fmt.Errorf("cannot use the match comment of ip_tables: %w", err)
	}
	return nil
}

// loadTables loads what iptables asks modprobe for when the old interface is not there.
func loadTables(ctx context.Context) error {
	dir, err := modulesDir()
	if err != nil {
		return err
	}
	files, _ := moduleFiles(dir)
	return load(ctx, dir, files["iptable_filter"], "iptable_filter")
}

// getsockopt is the system call with a value that is read and written, for which golang.org/x/sys has no function.
func getsockopt(fd int, name uintptr, value []byte) error {
	length := uint32(len(value))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_IP, name,
		uintptr(unsafe.Pointer(unsafe.SliceData(value))), uintptr(unsafe.Pointer(&length)), 0) //nolint:gosec // the kernel writes no more than length
	if errno != 0 {
		return errno
	}
	return nil
}
