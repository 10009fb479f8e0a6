package trial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// shelf holds the kernel modules that trials loaded or made the kernel load, until they are unloaded. It holds none that
// was loaded before, and none that a trial has no use for: what others load meanwhile is theirs.
type shelf struct {
	names []string
	known []string // what trials can load; made when it is needed
}

// ownModules lists the modules that the trials use, and what those use on kernels of distributions.
func ownModules() []string {
	return []string{
		"overlay", "veth", "vxlan", "udp_tunnel", "ip6_udp_tunnel",
		"nfnetlink", "nf_tables", "nft_counter", "nft_compat", "x_tables", "xt_comment", "ip_tables", "iptable_filter",
		"br_netfilter", "bridge", "stp", "llc", "nf_conntrack", "nf_defrag_ipv4", "nf_defrag_ipv6",
		"libcrc32c", "crc32c_generic", "crc32c_intel",
	}
}

// loadedModules returns nil where the kernel has no modules.
func loadedModules() map[string]Module {
	b, err := readBounded("/proc/modules")
	if err != nil {
		return nil
	}
	return ParseModules(b)
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxModules))
}

// add puts on the shelf what was not loaded before a trial and is after it.
func (s *shelf) add(before, after map[string]Module) {
	if before == nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if _, ok := before[name]; !ok && !slices.Contains(s.names, name) && s.knows(name) {
			s.names = append(s.names, name)
		}
	}
}

func (s *shelf) knows(name string) bool {
	if slices.Contains(ownModules(), name) {
		return true
	}
	if s.known == nil { // what they need here beyond that
		s.known = ownModules()
		if dir, err := modulesDir(); err == nil {
			if b, err := readBounded(filepath.Join(dir, "modules.dep")); err == nil {
				files := ParseModulesDep(b)
				for _, own := range ownModules() {
					for _, path := range files[own] {
						s.known = append(s.known, moduleName(path))
					}
				}
			}
		}
	}
	return slices.Contains(s.known, name)
}

func (s *shelf) empty() bool { return len(s.names) == 0 }

// inUse is how long a module may seem to be used before it is believed: the kernel takes network namespaces apart, and frees
// rules, some time after their end.
const inUse = 2 * time.Second

// putAway unloads what is on the shelf, a module that others use after them. The kernel refuses those that are in use. It
// returns a remark on what is left, which somebody has taken into use or may not be unloaded from here.
func (s *shelf) putAway(ctx context.Context) string {
	last := time.Now()
	for {
		progress, denied := s.clear(ctx)
		switch {
		case s.empty():
			return ""
		case denied != nil:
			return fmt.Sprintf("left loaded: %s (%v)", strings.Join(s.names, ", "), denied)
		case progress:
			last = time.Now()
		case ctx.Err() != nil || time.Since(last) > inUse:
			return "left loaded, in use: " + strings.Join(s.names, ", ")
		default:
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// clear unloads once what can be unloaded, and takes off the shelf what is gone.
func (s *shelf) clear(ctx context.Context) (progress bool, denied error) {
	loaded := loadedModules()
	before := len(s.names)
	s.names = slices.DeleteFunc(s.names, func(name string) bool { _, ok := loaded[name]; return !ok })
	progress = len(s.names) < before
	for _, name := range s.names {
		if loaded[name].Users != 0 || ctx.Err() != nil {
			continue
		}
		switch err := unix.DeleteModule(name, unix.O_NONBLOCK); {
		case err == nil:
			progress = true // the next look at the list tells whether it is gone
		case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOSYS):
			return progress, err
		}
	}
	return progress && ctx.Err() == nil, nil
}

// modulesDir returns the folder of the running kernel's modules.
func modulesDir() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("cannot ask for the kernel's name: %w", err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	if !filepath.IsLocal(release) {
		return "", fmt.Errorf("cannot look for modules of a kernel %q", release)
	}
	for _, parent := range []string{"/lib/modules", "/usr/lib/modules"} {
		dir := filepath.Join(parent, release)
		if _, err := os.Stat(filepath.Join(dir, "modules.dep")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("no modules of the running kernel " + release + " are here")
}
