// Package remains knows what a node of Kubernetes leaves on a machine beside its folders: processes, mounts, links, rules
// of the firewall, sets, control groups, sysctls, modules, and single files in folders that others use too. Each kind is a
// [Thing]: it lists what there is before the node starts, and later takes away what has come since, and nothing else.
package remains

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/command"
)

// Env is where things are looked for. The zero value is this machine.
type Env struct {
	Root    string // below it lie the files of the machine; "" means the machine itself, whose kernel is asked, too
	DataDir string // of k3s: programs below it are its own
	Bridge  string // in which the links of pods end; "" is that of k3s

	// Stop stops a unit of systemd; nil means that there is no systemd.
	Stop func(ctx context.Context, unit string) error
	// Run runs a program to its end; nil means [command.Run].
	Run func(ctx context.Context, limit time.Duration, argv ...string) ([]byte, error)
}

// Thing is one kind of what a node leaves.
type Thing struct {
	Kind  string // lower-kebab
	Title string
	// List returns what there is now, sorted. Removed later, this stays.
	List func(ctx context.Context) ([]string, error)
	// Remove takes away what was not there before, and returns what it had to leave, each with the reason. It may be called
	// again after it was stopped anywhere. An error says that the rest must not go either, for it may be in use.
	Remove func(ctx context.Context, before []string) (left []string, err error)
}

// All lists the things in the order in which they can be removed. On a machine in a folder those of the kernel are left out.
func All(e Env) []Thing {
	things := []Thing{e.cgroups(), e.sockets(), e.files(), e.sysctls(), e.folders()}
	if e.Root == "" {
		things = []Thing{
			e.processes(), e.cgroups(), e.mounts(), e.links(), e.rules(), e.legacyRules(), e.sets(), e.counters(),
			e.sockets(), e.files(), e.sysctls(), e.folders(), e.modules(),
		}
	}
	return things
}

func (e Env) path(target string) string { return filepath.Join("/", e.Root, target) }

// dataDirs are the names of the folder of k3s: the one that it was given, and the one that the kernel tells where a part of
// it is a link.
func (e Env) dataDirs() []string {
	dirs := []string{e.DataDir}
	if e.DataDir == "" {
		return dirs
	}
	if real, err := filepath.EvalSymlinks(e.path(e.DataDir)); err == nil {
		if real = filepath.Join("/", strings.TrimPrefix(real, e.path("/"))); real != e.DataDir {
			dirs = append(dirs, real)
		}
	}
	return dirs
}

func (e Env) run(ctx context.Context, limit time.Duration, argv ...string) ([]byte, error) {
	if e.Run != nil {
		return e.Run(ctx, limit, argv...)
	}
	return command.Run(ctx, limit, argv...)
}

// since returns what is in now and was not in before.
func since(now, before []string) []string {
	return slices.DeleteFunc(slices.Clone(now), func(s string) bool { return slices.Contains(before, s) })
}
