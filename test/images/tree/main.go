// Command tree packs root file systems as container images in one file for docker load, without a container engine:
//
//	tree -o node.tar -entrypoint /bin/k3s -cmd agent -volume /var/log docker.io/rancher/k3s:v1 root.tar top.tar
//
// Each tar is a layer, the lowest first.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// words is a flag that may be repeated.
type words []string

func (w *words) String() string     { return strings.Join(*w, " ") }
func (w *words) Set(s string) error { *w = append(*w, s); return nil }

func main() {
	var config v1.Config
	out := flag.String("o", "image.tar", "file to write")
	arch := flag.String("arch", runtime.GOARCH, "architecture of the programs")
	volumes := flag.String("volume", "", "folders that are volumes, with commas")
	flag.StringVar(&config.StopSignal, "stop-signal", "", "signal that stops it; SIGTERM if none is given")
	flag.Var((*words)(&config.Entrypoint), "entrypoint", "program, then arguments: one flag each")
	flag.Var((*words)(&config.Cmd), "cmd", "arguments that may be replaced: one flag each")
	flag.Var((*words)(&config.Env), "env", "NAME=VALUE: one flag each")
	flag.Parse()
	config.Volumes = map[string]struct{}{}
	for v := range strings.SplitSeq(*volumes, ",") {
		if v != "" {
			config.Volumes[v] = struct{}{}
		}
	}
	if err := pack(*out, *arch, config, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "tree:", err)
		os.Exit(1)
	}
}

func pack(out, arch string, config v1.Config, args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("want NAME LAYER.tar...")
	}
	tag, err := name.NewTag(args[0])
	if err != nil {
		return fmt.Errorf("cannot name an image %q: %w", args[0], err)
	}
	img := v1.Image(empty.Image)
	for _, path := range args[1:] {
		l, err := tarball.LayerFromFile(path)
		if err != nil {
			return fmt.Errorf("cannot read the layer %s: %w", path, err)
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			return fmt.Errorf("cannot add the layer %s: %w", path, err)
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		return err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", arch, config
	if img, err = mutate.ConfigFile(img, file); err != nil {
		return err
	}
	// under its last name only when it is whole
	part := out + ".part"
	if err := tarball.MultiRefWriteToFile(part, map[name.Reference]v1.Image{tag: img}); err != nil {
		return fmt.Errorf("cannot write %s: %w", out, err)
	}
	return os.Rename(part, out)
}
