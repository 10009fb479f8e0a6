package trial

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// need is a part of the kernel that k3s asks modprobe for.
type need struct {
	module string
	effect string                      // a path that is there when the module is, also where modules cannot be seen
	demand func(context.Context) error // makes the kernel load the module by itself; nil: it never does
}

func needs() []need {
	return []need{
		{module: "overlay", demand: func(context.Context) error { return openFilesystem("overlay") }},
		{module: "br_netfilter", effect: "/proc/sys/net/bridge"},
		{module: "vxlan", demand: func(ctx context.Context) error { return inNetworkNamespace(func() error { return useVxlan(ctx) }) }},
		{module: "nf_conntrack", effect: "/proc/sys/net/netfilter/nf_conntrack_max"},
	}
}

// moduleLoad loads the modules that k3s wants and that are not there yet; Run unloads them, as all that came by trials. Where loading is denied, as in
// containers, what counts is whether they are there.
func moduleLoad() Trial {
	return Trial{Name: ModuleLoad, Title: "load kernel modules", Run: func(ctx context.Context, _ Env) (Result, error) {
		dir, noDir := modulesDir()
		files, builtin := moduleFiles(dir)
		before := loadedModules()
		missing := slices.DeleteFunc(needs(), func(n need) bool { return n.there(before, builtin) })
		if len(missing) == 0 {
			return Result{Detail: "not needed: all are there"}, nil
		}
		var notes []string
		var failed error
		for _, n := range missing {
			if ctx.Err() != nil {
				failed = errors.Join(failed, fmt.Errorf("%w: %w", errNotTried, ctx.Err()))
				break
			}
			err := noDir
			if noDir == nil {
				err = load(ctx, dir, files[n.module], n.module)
			}
			if err != nil && n.demand != nil && n.demand(ctx) == nil {
				err = nil
				notes = append(notes, n.module+" was loaded by the kernel itself")
			} else if errors.Is(err, errLeftAlone) {
				notes = append(notes, n.module+" is there to be loaded; not tried, since it changes what the bridges here do")
				err = nil
			} else if err == nil {
				notes = append(notes, n.module+" was loaded")
			}
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("cannot load the kernel module %s: %w", n.module, err))
			}
		}
		return Result{Detail: strings.Join(notes, "; ")}, oneLine(failed)
	}}
}

func oneLine(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok && len(joined.Unwrap()) == 2 {
		return fmt.Errorf("%w; %w", oneLine(joined.Unwrap()[0]), joined.Unwrap()[1])
	}
	return err
}

// moduleFiles reads what depmod made of a folder of modules.
func moduleFiles(dir string) (files map[string][]string, builtin []string) {
	if dir == "" {
		return nil, nil
	}
	if b, err := readBounded(filepath.Join(dir, "modules.dep")); err == nil {
		files = ParseModulesDep(b)
	}
	if b, err := readBounded(filepath.Join(dir, "modules.builtin")); err == nil {
		for line := range strings.Lines(string(b)) {
			builtin = append(builtin, moduleName(strings.TrimSpace(line)))
		}
	}
	return files, builtin
}

func (n need) there(loaded map[string]Module, builtin []string) bool {
	if _, ok := loaded[n.module]; ok || slices.Contains(builtin, n.module) {
		return true
	}
	for _, path := range []string{"/sys/module/" + n.module, n.effect} {
		if _, err := os.Stat(path); path != "" && err == nil {
			return true
		}
	}
	b, err := readBounded("/proc/filesystems")
	return err == nil && slices.Contains(strings.Fields(string(b)), n.module)
}

var errLeftAlone = errors.New("left alone")

// load loads a module after those that it needs. paths are as in modules.dep.
func load(ctx context.Context, dir string, paths []string, name string) error {
	if len(paths) == 0 {
		return fmt.Errorf("%s does not have it", dir)
	}
	if name == "br_netfilter" { // from then on, frames between a bridge's ports go through iptables
		if bridges, _ := filepath.Glob("/sys/class/net/*/bridge"); len(bridges) > 0 {
			if _, err := os.Stat(filepath.Join(dir, paths[0])); err != nil {
				return err
			}
			return errLeftAlone
		}
	}
	for _, path := range slices.Backward(paths) {
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", errNotTried, ctx.Err())
		}
		if err := loadFile(filepath.Join(dir, path)); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	return nil
}

// loadFile leaves the unpacking to the kernel, which can do it from 5.17 on if it was built so. Where it cannot, gzip is
// left; xz and zstd would each take a decompressor of ours.
func loadFile(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	suffix := filepath.Ext(path)
	if suffix == ".ko" {
		return unix.FinitModule(int(f.Fd()), "", 0)
	}
	err = unix.FinitModule(int(f.Fd()), "", unix.MODULE_INIT_COMPRESSED_FILE)
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	if suffix != ".gz" {
		return fmt.Errorf("%w: this kernel does not unpack %s", errNotTried, path)
	}
	image, err := gunzip(f)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotTried, err)
	}
	return unix.InitModule(image, "")
}

// maxImage bounds an unpacked module; the largest of those that are loaded here has some 1 MB.
const maxImage = 64 << 20

func gunzip(r io.ReadSeeker) ([]byte, error) {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	var image bytes.Buffer
	if _, err := io.Copy(&image, io.LimitReader(z, maxImage)); err != nil {
		return nil, err
	}
	return image.Bytes(), nil
}

// openFilesystem opens a type of file system without mounting anything, for which the kernel loads its module.
func openFilesystem(name string) error {
	fd, err := unix.Fsopen(name, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}
