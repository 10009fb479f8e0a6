package trial

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of linux/bpf.h.
const bpfProgDetach = 9 // BPF_PROG_DETACH

// bpfLoad is the start of union bpf_attr for BPF_PROG_LOAD.
type bpfLoad struct {
	kind         uint32
	instructions uint32
	code         uint64
	license      uint64
	logLevel     uint32
	logSize      uint32
	log          uint64
	version      uint32
	flags        uint32
}

// bpfAttach is the start of union bpf_attr for BPF_PROG_ATTACH and BPF_PROG_DETACH.
type bpfAttach struct {
	target  uint32
	program uint32
	kind    uint32
	flags   uint32
}

// judgeDevices attaches a program that allows every device to a control group of cgroup v2, as runc does with its rules,
// and detaches it. In a user namespace nobody may do that, and runc does without.
func judgeDevices(dir string) (err error) {
	group, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, group.Close()) }()
	code := [2]uint64{0x00000001_000000b7, 0x95} // r0 = 1; exit
	var license [1]byte
	var pin runtime.Pinner // the kernel follows addresses that Go takes for numbers
	defer pin.Unpin()
	pin.Pin(&code)
	pin.Pin(&license)
	load := bpfLoad{
		kind: unix.BPF_PROG_TYPE_CGROUP_DEVICE, instructions: uint32(len(code)),
		code: uint64(uintptr(unsafe.Pointer(&code))), license: uint64(uintptr(unsafe.Pointer(&license))),
	}
	program, err := bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&load), unsafe.Sizeof(load))
	if err != nil {
		if errors.Is(err, unix.EPERM) && inUserNamespace() {
			return nil
		}
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(program)) }()
	attach := bpfAttach{
		target: uint32(group.Fd()), program: uint32(program), kind: unix.BPF_CGROUP_DEVICE, flags: unix.BPF_F_ALLOW_MULTI,
	}
	if _, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attach), unsafe.Sizeof(attach)); err != nil {
		return err
	}
	attach.flags = 0
	if _, err := bpf(bpfProgDetach, unsafe.Pointer(&attach), unsafe.Sizeof(attach)); err != nil {
		return fmt.Errorf("%w: cannot detach it: %w", errNotUndone, err)
	}
	return nil
}

func bpf(command int, attributes unsafe.Pointer, size uintptr) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(command), uintptr(attributes), size)
	if errno != 0 {
		return 0, errno
	}
	return int(fd), nil
}

// inUserNamespace tells whether user ids are mapped: the first namespace maps all to themselves.
func inUserNamespace() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	var inside, outside, count uint64
	if _, err := fmt.Sscan(string(b), &inside, &outside, &count); err != nil {
		return false
	}
	return inside != outside || count != 1<<32-1
}
