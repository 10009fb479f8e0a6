package trial

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of linux/bpf.h.
const bpfProgDetach = 9 // BPF_PROG_DETACH

// judgeDevices attaches a program that allows every device to a control group of cgroup v2, as runc does with its rules,
// and detaches it. In a user namespace nobody may do that, and runc does without.
func judgeDevices(dir string) (err error) {
	group, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, group.Close()) }()
	native := binary.NativeEndian
	code := native.AppendUint64(native.AppendUint64(nil, 0x00000001_000000b7), 0x95) // r0 = 1; exit
	license := []byte{0}
	var pin runtime.Pinner // the kernel follows addresses that Go takes for numbers
	defer pin.Unpin()
	pin.Pin(&code[0])
	pin.Pin(&license[0])
	load := native.AppendUint32(nil, unix.BPF_PROG_TYPE_CGROUP_DEVICE)
	load = native.AppendUint32(load, 2) // instructions
	load = native.AppendUint64(load, address(code))
	load = native.AppendUint64(load, address(license))
	program, err := bpf(unix.BPF_PROG_LOAD, load)
	if err != nil {
		if errors.Is(err, unix.EPERM) && inUserNamespace() {
			return nil
		}
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(program)) }()
	attach := func(flags uint32) []byte {
		b := native.AppendUint32(nil, uint32(group.Fd()))
		b = native.AppendUint32(b, uint32(program))
		b = native.AppendUint32(b, unix.BPF_CGROUP_DEVICE)
		return native.AppendUint32(b, flags)
	}
	if _, err := bpf(unix.BPF_PROG_ATTACH, attach(unix.BPF_F_ALLOW_MULTI)); err != nil {
		return err
	}
	if _, err := bpf(bpfProgDetach, attach(0)); err != nil {
		return fmt.Errorf("%w: cannot detach it: %w", errNotUndone, err)
	}
	return nil
}

// bpf is the system call with the start of union bpf_attr; the kernel takes the rest for zeros.
func bpf(command int, attributes []byte) (int, error) {
	start := unsafe.Pointer(unsafe.SliceData(attributes)) //nolint:gosec // golang.org/x/sys has no function for this call
	fd, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(command), uintptr(start), uintptr(len(attributes)))
	if errno != 0 {
		return 0, errno
	}
	return int(fd), nil
}

// address is where pinned bytes are.
func address(pinned []byte) uint64 {
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(pinned)))) //nolint:gosec // the kernel wants it so
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
