package rig

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
)

// builtFile is one of the files that a script below test/ builds, by its path in a mirror.
type builtFile struct {
	product, name string
	path          string // a regular expression with the version as its group
}

// builtFiles lists them.
func builtFiles() []builtFile {
	arch := runtime.GOARCH
	return []builtFile{
		{"k3d", "binary", `k3d-io/k3d/releases/download/(v[^/]+)/k3d-linux-` + arch},
		{"k3d", "node-image", `pipeopshq/pipeops-agent/releases/download/node-images/k3d-node-image-(v[^/]+)-` + arch + `\.tar`},
		{"k3d", "proxy-image", `pipeopshq/pipeops-agent/releases/download/node-images/k3d-proxy-image-(v[^/]+)-` + arch + `\.tar`},
		{"kind", "binary", `kubernetes-sigs/kind/releases/download/(v[^/]+)/kind-linux-` + arch},
		{"kind", "node-image", `pipeopshq/pipeops-agent/releases/download/node-images/kind-node-image-(v[^/]+)-` + arch + `\.tar`},
	}
}

// AddK3d puts k3d and the image of its nodes into the mirror and its manifest. The first time it builds them, which takes
// five minutes; they are kept in the cache.
func (r *Rig) AddK3d(ctx context.Context) error { return r.addBuilt(ctx, "test/k3d/build.sh") }

// AddKind puts kind and the image of its nodes into the mirror and its manifest.
func (r *Rig) AddKind(ctx context.Context) error { return r.addBuilt(ctx, "test/kind/build.sh") }

// AddK3dProgram puts k3d in another version into the mirror and its manifest.
func (r *Rig) AddK3dProgram(ctx context.Context, version string) error {
	return r.addBuilt(ctx, "test/k3d/build.sh", version)
}

// NodeImage returns the file on this side that is the image of a product's nodes.
func (r *Rig) NodeImage(product string) (string, error) {
	for _, f := range r.built {
		if f.Product == product && f.Name == "node-image" {
			return filepath.Join(r.mirror(), f.Path), nil
		}
	}
	return "", fmt.Errorf("cannot find the image of %s's nodes: it was not added to the rig", product)
}

// BuiltProgram returns the program on this side that a script has built, in that version.
func (r *Rig) BuiltProgram(product, version string) (string, error) {
	for _, f := range r.built {
		if f.Product == product && f.Name == "binary" && f.Version == version {
			return filepath.Join(r.mirror(), f.Path), nil
		}
	}
	return "", fmt.Errorf("cannot find %s %s: it was not added to the rig", product, version)
}

func (r *Rig) addBuilt(ctx context.Context, script string, args ...string) error {
	cmd := exec.CommandContext(ctx, "bash", append([]string{filepath.Join(r.root, script)}, args...)...)
	cmd.Env = append(os.Environ(), "K3S_RELEASE_DIR="+r.Release)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("cannot run %s: %w", script, err)
	}
	folder := strings.TrimSpace(string(out))
	err = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		relative, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		return r.addFile(path, relative)
	})
	if err != nil {
		return fmt.Errorf("cannot put what %s built into the mirror: %w", script, err)
	}
	m, err := r.Manifest()
	if err != nil {
		return err
	}
	return r.Publish(m)
}

// addFile links a file into the mirror and lists it for the manifest.
func (r *Rig) addFile(file, path string) error {
	for _, b := range builtFiles() {
		m := regexp.MustCompile("^" + b.path + "$").FindStringSubmatch(path)
		if m == nil {
			continue
		}
		f := manifest.File{Product: b.product, Version: m[1], Arch: runtime.GOARCH, Name: b.name, Origin: manifest.Origin, Path: path}
		var err error
		if f.SHA256, f.Bytes, err = digest(file); err != nil {
			return err
		}
		target := filepath.Join(r.mirror(), path)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(file, target); err != nil {
			return err
		}
		r.built = append(r.built, f)
		return nil
	}
	return fmt.Errorf("nobody knows what %s is", path)
}
