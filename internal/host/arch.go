package host

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
)

// Arch is the architecture of the kernel and, apart from it, of the programs: a Raspberry Pi may run 32-bit programs on
// a 64-bit kernel.
type Arch struct {
	Machine  string     `json:"machine"`       // as uname says: "x86_64"; "" is unknown
	Name     string     `json:"name"`          // as Go names it: "amd64", "arm64", "arm"; else the machine
	Userland Known[int] `json:"userland_bits"` // 32 or 64: the ELF class of pid 1
	PageSize Known[int] `json:"page_size"`     // bytes; some arm64 kernels use 16384 or 65536
	Level    Known[int] `json:"level"`         // of x86-64: 1 to 4 (System V ABI supplement); unknown elsewhere
}

func archProbe() Probe {
	return Probe{Name: "arch", Run: func(_ context.Context, s *System) (Part, error) {
		snap := s.Snapshot()
		a := Arch{Machine: snap.Uname.Machine, PageSize: snap.PageSize}
		var err error
		if s.Live() {
			var u Uname
			u, err = liveUname()
			a.Machine, a.PageSize = u.Machine, Is(livePageSize())
		}
		if a.Name = archName(a.Machine); a.Name == "" && s.Live() {
			a.Name = runtime.GOARCH // elsewhere than on Linux uname is not asked
		}
		// /proc/1/exe needs root; the shell is a good witness where it cannot be read
		for _, path := range []string{"/proc/1/exe", "/sbin/init", "/bin/sh", "/usr/bin/sh"} {
			head, e := s.ReadHead(path, 5)
			if e != nil {
				continue
			}
			if bits, e := ParseELFClass(head); e == nil {
				a.Userland = Is(bits)
				break
			}
		}
		if b, e := s.ReadFile("/proc/cpuinfo"); e == nil && a.Name == "amd64" {
			a.Level = ParseCPULevel(b)
		}
		return func(f *Facts) { f.Arch = a }, err
	}}
}

// archName gives a machine the name that Go and container images use.
func archName(machine string) string {
	switch machine {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	case "armv6l", "armv7l", "armv8l":
		return "arm"
	case "i386", "i586", "i686":
		return "386"
	}
	return machine
}

// ParseCPULevel returns the x86-64 level of the first CPU of /proc/cpuinfo, by the flags that the System V ABI
// supplement demands of each, under the names that Linux gives them.
func ParseCPULevel(cpuinfo []byte) Known[int] {
	var has []string
	for line := range bytes.Lines(cpuinfo) {
		key, value, ok := bytes.Cut(line, []byte(":"))
		if ok && string(bytes.TrimSpace(key)) == "flags" {
			has = strings.Fields(string(value))
			break
		}
	}
	level := 0
	for _, needs := range []string{
		"lm cmov cx8 fpu fxsr mmx syscall sse sse2",
		"cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3", // pni is SSE3
		"avx avx2 bmi1 bmi2 f16c fma abm movbe xsave", // abm is LZCNT
		"avx512f avx512bw avx512cd avx512dq avx512vl",
	} {
		for flag := range strings.FieldsSeq(needs) {
			if !slices.Contains(has, flag) {
				if level == 0 {
					return Known[int]{}
				}
				return Is(level)
			}
		}
		level++
	}
	return Is(level)
}

// ParseELFClass returns 32 or 64 for the first five bytes of a program.
func ParseELFClass(head []byte) (int, error) {
	if len(head) < 5 || string(head[:4]) != "\x7fELF" {
		return 0, errors.New("cannot read the program: not an ELF file")
	}
	switch head[4] {
	case 1:
		return 32, nil
	case 2:
		return 64, nil
	}
	return 0, errors.New("cannot read the program: unknown ELF class")
}
