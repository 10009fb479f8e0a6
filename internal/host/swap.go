package host

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Swap is memory on disk, or compressed.
type Swap struct {
	Total      Known[uint64] `json:"total"`      // bytes
	Zram       Known[bool]   `json:"zram"`       // whether all of it is compressed memory; false without any
	Controller Known[bool]   `json:"controller"` // whether the cgroups can limit swap
}

func swapProbe() Probe {
	return Probe{Name: "swap", Run: func(_ context.Context, s *System) (Part, error) {
		var w Swap
		if b, err := s.ReadFile("/proc/swaps"); err == nil {
			w = ParseSwaps(b)
		}
		w.Controller = readSwapController(s)
		return func(f *Facts) { f.Swap = w }, nil
	}}
}

// ParseSwaps reads /proc/swaps, whose sizes are in KiB. Without its heading it is no such file.
func ParseSwaps(b []byte) Swap {
	if !bytes.HasPrefix(b, []byte("Filename")) {
		return Swap{}
	}
	total, entries, compressed := uint64(0), 0, 0
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line[:min(len(line), 4*maxText)])) // filename type size used priority
		if len(f) < 5 || f[0] == "Filename" {
			continue
		}
		kib, err := strconv.ParseUint(f[2], 10, 64)
		if err != nil || kib > 1<<50 || total > 1<<62 {
			return Swap{}
		}
		total += kib << 10
		entries++
		if strings.HasPrefix(path.Base(f[0]), "zram") {
			compressed++
		}
	}
	return Swap{Total: Is(total), Zram: Is(entries > 0 && compressed == entries)}
}

// readSwapController looks for the file with which swap is limited beside that for memory. The root of a v2 hierarchy
// has neither, so the groups in which systemd keeps services and people count too.
func readSwapController(s *System) Known[bool] {
	const v1, v2 = "memory.memsw.limit_in_bytes", "memory.swap.max"
	files, _ := cgroupFiles(s, "memory", v1, v2)
	files = append(files, cgroupDir+"/system.slice/"+v2, cgroupDir+"/user.slice/"+v2)
	for _, file := range files {
		memory := path.Join(path.Dir(file), "memory.max")
		if path.Base(file) == v1 {
			memory = path.Join(path.Dir(file), "memory.limit_in_bytes")
		}
		if _, err := s.ReadFile(memory); err != nil {
			continue
		}
		switch _, err := s.ReadFile(file); {
		case err == nil:
			return Is(true)
		case errors.Is(err, fs.ErrNotExist):
			return Is(false)
		}
		return Known[bool]{}
	}
	return Known[bool]{}
}
