package trial

import (
	"bytes"
	"path/filepath"
	"strconv"
	"strings"
)

// maxModules bounds what is read of /proc/modules and modules.dep; the largest of distributions has 600 kB.
const maxModules = 4 << 20

// Module is a line of /proc/modules.
type Module struct {
	Users int // modules and others that use it; -1 if it cannot be unloaded
}

// ParseModules reads /proc/modules.
func ParseModules(b []byte) map[string]Module {
	modules := map[string]Module{}
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) < 3 {
			continue
		}
		users, err := strconv.Atoi(f[2]) // "-" where the kernel unloads none
		if err != nil {
			users = -1
		}
		modules[f[0]] = Module{users}
	}
	return modules
}

// ParseModulesDep reads modules.dep: for each module the files to load, its own first, each before those that it needs.
// Paths that lead out of the folder are left out, with the module.
func ParseModulesDep(b []byte) map[string][]string {
	files := map[string][]string{}
	for line := range bytes.Lines(b) {
		own, needs, ok := strings.Cut(string(line), ":")
		if !ok {
			continue
		}
		paths := append([]string{strings.TrimSpace(own)}, strings.Fields(needs)...)
		local := true
		for _, p := range paths {
			local = local && filepath.IsLocal(p)
		}
		if name := moduleName(paths[0]); local && name != "" {
			files[name] = paths
		}
	}
	return files
}

// moduleName is what the kernel calls the module in a file: "kernel/net/802/p8022.ko.xz" is "p8022", and '-' is '_'.
func moduleName(path string) string {
	name, _, ok := strings.Cut(filepath.Base(path), ".ko")
	if !ok {
		return ""
	}
	return strings.ReplaceAll(name, "-", "_")
}
