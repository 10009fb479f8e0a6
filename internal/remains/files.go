package remains

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// maxNames bounds how many files of one pattern are listed.
const maxNames = 10000

// filePatterns are single files and links that k3s, the kubelet and the plugins of CNI make in folders that others use too.
func filePatterns() []string {
	return []string{
		"/etc/rancher/k3s/k3s.yaml",
		"/var/lib/cni/results/cbr0-*", "/var/lib/cni/results/cni-loopback-*",
	}
}

// files are single files, by their paths.
func (e Env) files() Thing { return e.Matching("k3s-files", "single files of k3s", filePatterns()...) }

// Matching are the files of these patterns, by their paths. A file that is exchanged for a folder meanwhile stays.
func (e Env) Matching(kind, title string, patterns ...string) Thing {
	return Thing{
		Kind: kind, Title: title,
		List: func(context.Context) ([]string, error) { return e.matches(patterns...) },
		Remove: func(ctx context.Context, before []string) ([]string, error) {
			now, err := e.matches(patterns...)
			if err != nil {
				return nil, err
			}
			return e.unlink(ctx, since(now, before)), ctx.Err()
		},
	}
}

// matches lists what there is of the patterns, but folders.
func (e Env) matches(patterns ...string) ([]string, error) {
	var all []string
	for _, pattern := range patterns {
		found, err := filepath.Glob(e.path(pattern))
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			if st, err := os.Lstat(path); err == nil && !st.IsDir() {
				all = append(all, strings.TrimPrefix(path, strings.TrimSuffix(e.path("/"), "/")))
			}
		}
	}
	slices.Sort(all)
	if len(all) > maxNames {
		return nil, fmt.Errorf("there are %d files like %s, more than %d", len(all), patterns[0], maxNames)
	}
	return all, nil
}

func (e Env) unlink(ctx context.Context, paths []string) (left []string) {
	for _, path := range paths {
		if ctx.Err() != nil {
			return left
		}
		if err := syscall.Unlink(e.path(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			left = append(left, fmt.Sprintf("%s: %v", path, err))
		}
	}
	return left
}

// socketPatterns are sockets of containerd's shims, in a folder that every containerd of the machine uses, and that of its
// plugins.
func socketPatterns() []string { return []string{"/run/containerd/s/*", "/run/nri/nri.sock"} }

// sockets are those on which nobody listens any more, by their paths: those of another containerd are in use.
func (e Env) sockets() Thing {
	return Thing{
		Kind: "k3s-sockets", Title: "sockets of containers that have ended",
		List: func(context.Context) ([]string, error) { return e.matches(socketPatterns()...) },
		Remove: func(ctx context.Context, before []string) ([]string, error) {
			now, err := e.matches(socketPatterns()...)
			if err != nil {
				return nil, err
			}
			dead := slices.DeleteFunc(since(now, before), func(path string) bool { return !dead(ctx, e.path(path)) })
			return e.unlink(ctx, dead), ctx.Err()
		},
	}
}

// dead reports whether a file is a socket on which nobody listens.
func dead(ctx context.Context, path string) bool {
	st, err := os.Lstat(path)
	if err != nil || st.Mode()&fs.ModeSocket == 0 {
		return false
	}
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// folderNames are folders that k3s, the kubelet and the plugins of CNI make on their way to what is theirs, and that others
// may use by then. Those above come first.
func folderNames() []string {
	return []string{
		"/usr/libexec/kubernetes", "/usr/libexec/kubernetes/kubelet-plugins", "/usr/libexec/kubernetes/kubelet-plugins/volume",
		"/usr/libexec/kubernetes/kubelet-plugins/volume/exec",
		"/etc/rancher", "/etc/rancher/k3s", "/var/lib/rancher",
		"/var/lib/cni", "/var/lib/cni/networks", "/var/lib/cni/results",
		"/run/containerd", "/run/containerd/s", "/run/containerd/runc", "/run/nri",
		"/run/netns", "/etc/cni", "/etc/cni/net.d", "/opt/cni", "/opt/cni/bin",
	}
}

// folders are those that go when they are empty again. Before, those are listed that there are.
func (e Env) folders() Thing {
	return Thing{
		Kind: "k3s-folders", Title: "empty folders of k3s",
		List: func(context.Context) ([]string, error) {
			var all []string
			for _, path := range folderNames() {
				if _, err := os.Lstat(e.path(path)); err == nil {
					all = append(all, path)
				}
			}
			return all, nil
		},
		Remove: func(_ context.Context, before []string) ([]string, error) {
			var left []string
			for _, path := range slices.Backward(since(folderNames(), before)) {
				err := syscall.Rmdir(e.path(path))
				if errors.Is(err, syscall.EBUSY) && path == "/run/netns" && e.Root == "" && alone(path) { // iproute2 mounts it on itself
					if err = unmount(path); err == nil {
						err = syscall.Rmdir(path)
					}
				}
				switch {
				case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
				case errors.Is(err, syscall.ENOTEMPTY), errors.Is(err, syscall.EEXIST):
					left = append(left, path+": it holds what is not ours")
				default:
					left = append(left, fmt.Sprintf("%s: %v", path, err))
				}
			}
			return left, nil
		},
	}
}

// alone reports whether a folder is empty.
func alone(path string) bool {
	entries, err := os.ReadDir(path)
	return err == nil && len(entries) == 0
}
