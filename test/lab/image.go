package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const suite = "bookworm"

// basePackages is what a small virtual machine of a cloud has.
func basePackages() []string {
	return []string{
		"systemd", "systemd-sysv", "dbus", "iproute2", "iptables", "nftables", "ca-certificates", "curl", "wget",
		"busybox", "kmod", "procps", "iputils-ping", "openssl", "cron", "less",
	}
}

// openrcPackages is the same with OpenRC, and sysvinit as pid 1, in place of systemd.
func openrcPackages() []string {
	var all []string
	for _, name := range basePackages() {
		if name != "systemd" && name != "systemd-sysv" && name != "dbus" {
			all = append(all, name)
		}
	}
	return append(all, "openrc", "sysvinit-core", "initscripts", "logrotate")
}

// Image returns the folder of the root file system with the given packages beside the base. The first call builds it
// from Debian's packages (about half a minute); later ones find it.
func (l *Lab) Image(ctx context.Context, packages ...string) (string, error) {
	return l.image(ctx, append(basePackages(), packages...))
}

// image returns the folder of the root file system with these packages.
func (l *Lab) image(ctx context.Context, all []string) (string, error) {
	slices.Sort(all)
	all = slices.Compact(all)
	sum := sha256.Sum256([]byte(suite + "\n" + strings.Join(all, "\n")))
	dir := filepath.Join(l.Dir, "image-"+suite+"-"+hex.EncodeToString(sum[:6]))

	unlock, err := l.lock("image")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		return "", fmt.Errorf("cannot build the image of the machines: mmdebstrap is missing; apt-get install mmdebstrap, or run test/lab/setup.sh")
	}
	l.logf("building the image of the machines from Debian's packages (once, about half a minute)")
	began := time.Now()
	part := dir + ".part"
	if err := os.RemoveAll(part); err != nil {
		return "", fmt.Errorf("cannot remove an unfinished image: %w", err)
	}
	if _, err := run(ctx, "mmdebstrap", "--quiet", "--variant=minbase", "--include="+strings.Join(all, ","),
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
		"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-include=/usr/share/doc/*/copyright",
		suite, part); err != nil {
		return "", fmt.Errorf("cannot build the image of the machines: %w", err)
	}
	// each machine makes an id and gets a name of its own
	if err := os.WriteFile(filepath.Join(part, "etc/machine-id"), nil, 0o444); err != nil {
		return "", fmt.Errorf("cannot finish the image of the machines: %w", err)
	}
	if err := os.Rename(part, dir); err != nil {
		return "", fmt.Errorf("cannot finish the image of the machines: %w", err)
	}
	l.logf("built the image in %s", time.Since(began).Round(time.Second))
	return dir, nil
}
