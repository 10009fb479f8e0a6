// Command images packs static programs as container images in one file that containerd loads, without a container engine:
//
//	images -o sample-web.tar pipeops.local/sample-web:1=bin/web
//
// Each image holds its program in the root folder, under the name it has here, as entrypoint, and nothing else but an empty
// /tmp. It runs as nobody, unless the program is named with a '!' before it: NAME=!PROGRAM runs as root.
package main

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	out := flag.String("o", "images.tar", "file to write")
	arch := flag.String("arch", runtime.GOARCH, "architecture of the programs")
	flag.Parse()
	if err := pack(*out, *arch, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func pack(out, arch string, specs []string) error {
	if len(specs) == 0 {
		return fmt.Errorf("want NAME=PROGRAM...")
	}
	all := map[name.Reference]v1.Image{}
	for _, spec := range specs {
		reference, program, ok := strings.Cut(spec, "=")
		if !ok {
			return fmt.Errorf("%q: want NAME=PROGRAM", spec)
		}
		tag, err := name.NewTag(reference)
		if err != nil {
			return fmt.Errorf("cannot name an image %q: %w", reference, err)
		}
		program, root := strings.CutPrefix(program, "!")
		img, err := image(program, arch, root)
		if err != nil {
			return fmt.Errorf("cannot pack %s: %w", program, err)
		}
		all[tag] = img
	}
	// under its last name only when it is whole
	part := out + ".part"
	if err := tarball.MultiRefWriteToFile(part, all); err != nil {
		return fmt.Errorf("cannot write %s: %w", out, err)
	}
	return os.Rename(part, out)
}

func image(program, arch string, root bool) (v1.Image, error) {
	content, err := layer(program)
	if err != nil {
		return nil, err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	config.Config.Entrypoint = []string{"/" + filepath.Base(program)}
	config.Config.Env = []string{"PATH=/"}
	if !root {
		config.Config.User = "65534:65534"
	}
	return mutate.ConfigFile(img, config)
}

// layer returns the files as a tar. Times are zero: the same program gives the same image.
func layer(program string) ([]byte, error) {
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777},
		{Typeflag: tar.TypeReg, Name: filepath.Base(program), Mode: 0o755, Size: int64(len(content))},
	} {
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	return b.Bytes(), w.Close()
}
