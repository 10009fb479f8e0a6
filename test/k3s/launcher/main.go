// Command launcher is the k3s of the release that build.sh makes: it holds the real programs as an archive, unpacks them
// once to DATA/data/DIGEST, and becomes the one that it was asked for. DATA is /var/lib/rancher/k3s, or what --data-dir or
// K3S_DATA_DIR says. It lays the folder out as k3s's own launcher documents it: data/current is a link to the programs,
// data/cni the folder of CNI plugins whose name never changes.
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/klauspost/compress/zstd"
)

// payload is the folder bin of programs and links, packed by build.sh.
//
//go:embed payload.tar.zst
var payload []byte

// version is set by the linker.
var version = "unknown"

func main() {
	err := run(os.Args)
	var usage usageError
	if errors.As(err, &usage) {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, "k3s:", err)
	os.Exit(1)
}

type usageError string

func (e usageError) Error() string { return string(e) }

// run returns only when it failed.
func run(args []string) error {
	tools := []string{"kubectl", "crictl", "ctr"}
	if name := filepath.Base(args[0]); slices.Contains(tools, name) {
		return become(dataDir(nil), name, append([]string{name}, args[1:]...))
	}
	command := ""
	if len(args) > 1 {
		command = args[1]
	}
	switch {
	case slices.Contains([]string{"--version", "-v"}, command):
		fmt.Printf("k3s version %s (built from Go modules)\ngo version %s\n", version, runtime.Version())
		os.Exit(0)
	case slices.Contains(tools, command):
		return become(dataDir(nil), command, args[1:])
	case slices.Contains([]string{"server", "agent", "token", "etcd-snapshot", "secrets-encrypt", "certificate", "completion"}, command):
		return become(dataDir(args[2:]), "k3s-"+command, args)
	}
	return usageError("usage: k3s server | agent | token | etcd-snapshot | secrets-encrypt | certificate | completion | kubectl | crictl | ctr | --version")
}

func dataDir(args []string) string {
	for i, arg := range args {
		name, value, found := strings.Cut(arg, "=")
		if name != "--data-dir" && name != "-d" {
			continue
		}
		if found {
			return value
		}
		if i+1 < len(args) {
			return args[i+1]
		}
	}
	if dir := os.Getenv("K3S_DATA_DIR"); dir != "" {
		return dir
	}
	return "/var/lib/rancher/k3s"
}

// become unpacks the programs, unless they are there, and executes one of them.
func become(data, program string, args []string) error {
	sum := sha256.Sum256(payload)
	dir := filepath.Join(data, "data", hex.EncodeToString(sum[:]))
	if err := install(filepath.Join(data, "data"), dir); err != nil {
		return fmt.Errorf("cannot unpack to %s: %w", dir, err)
	}
	path := strings.Join([]string{filepath.Join(data, "data", "cni"), filepath.Join(dir, "bin"), os.Getenv("PATH")}, ":")
	if err := os.Setenv("PATH", path); err != nil {
		return err
	}
	if config := filepath.Join(data, "agent/etc/crictl.yaml"); program == "crictl" && os.Getenv("CRI_CONFIG_FILE") == "" {
		if err := os.Setenv("CRI_CONFIG_FILE", config); err != nil {
			return err
		}
	}
	program = filepath.Join(dir, "bin", program)
	return fmt.Errorf("cannot execute %s: %w", program, syscall.Exec(program, args, os.Environ()))
}

// install makes dir with everything around it; several may do so at once.
func install(data, dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(data, 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(data, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	part := dir + ".part"
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	if err := unpack(part); err != nil {
		return err
	}
	if err := linkPlugins(filepath.Join(data, "cni"), filepath.Join(dir, "bin")); err != nil {
		return err
	}
	if err := link(dir, filepath.Join(data, "current")); err != nil {
		return err
	}
	return os.Rename(part, dir) // last: who finds dir finds all of it
}

func unpack(dir string) error {
	z, err := zstd.NewReader(bytes.NewReader(payload))
	if err != nil {
		return err
	}
	defer z.Close()
	for r := tar.NewReader(z); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		target := filepath.Join(dir, filepath.FromSlash(header.Name))
		switch header.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(target, 0o755)
		case tar.TypeSymlink:
			err = os.Symlink(header.Linkname, target)
		case tar.TypeReg:
			err = write(target, r)
		}
		if err != nil {
			return err
		}
	}
}

func write(target string, r io.Reader) error {
	file, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, r)
	return errors.Join(err, file.Close())
}

// linkPlugins links every CNI plugin; one that a user has put there himself stays.
func linkPlugins(dir, bin string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, plugin := range []string{"bandwidth", "bridge", "firewall", "flannel", "host-local", "loopback", "portmap"} {
		name := filepath.Join(dir, plugin)
		if info, err := os.Lstat(name); err == nil && info.Mode()&os.ModeSymlink == 0 {
			continue
		}
		if err := link(filepath.Join(bin, plugin), name); err != nil {
			return err
		}
	}
	return nil
}

func link(target, name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Symlink(target, name)
}
