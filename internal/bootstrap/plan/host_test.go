package plan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// fakeHost is a machine in a folder: files that were there before, and a plan that changes them in every way there is.
type fakeHost struct {
	t         *testing.T
	root, dir string
}

const elf = "a rather large binary"

func newHost(t *testing.T) *fakeHost {
	h := &fakeHost{t: t, root: fastDir(t), dir: filepath.Join(fastDir(t), "state")}
	h.write("/etc/rancher/k3s/config.yaml", "disable: [traefik]\n", 0o640)
	h.write("/etc/alternatives/kubectl", "user's kubectl", 0o755)
	h.write("/proc/sys/fs/inotify/max_user_watches", "8192\n", 0o644)
	h.write("/etc/debris", "old", 0o600)
	h.write("/units/k3s", "absent", 0o600)
	h.write("/var/lib/kubelet/theirs", "somebody else's", 0o600)
	if err := os.MkdirAll(h.path("/usr/local/bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", h.path("/usr/local/bin/kubectl")); err != nil {
		t.Fatal(err)
	}
	return h
}

// fastDir is a folder in memory where there is such a file system: the tests sync thousands of times.
func fastDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "plan-test")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (h *fakeHost) path(target string) string { return filepath.Join(h.root, target) }

func (h *fakeHost) write(target, content string, mode fs.FileMode) {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Dir(h.path(target)), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.path(target), []byte(content), mode); err != nil {
		h.t.Fatal(err)
	}
}

func (h *fakeHost) is(target, content string) bool {
	got, err := os.ReadFile(h.path(target))
	return err == nil && string(got) == content
}

func (h *fakeHost) plan() Plan {
	artifact := filepath.Join(h.dir, "artifact")
	return Plan{Name: "install", Steps: []Step{
		{
			ID: "download", Title: "Download",
			Done: func(context.Context) (bool, error) {
				_, err := os.Stat(artifact)
				return err == nil || h.is("/usr/local/bin/k3s", elf), nil
			},
			Prepare: func(_ context.Context, progress func(done, total int64)) error {
				progress(int64(len(elf)), int64(len(elf)))
				return os.WriteFile(artifact, []byte(elf), 0o600)
			},
		},
		{
			ID: "binary", Title: "Binary",
			Done: func(context.Context) (bool, error) { return h.is("/usr/local/bin/k3s", elf), nil },
			Do: func(_ context.Context, r *Recorder) error {
				if err := r.PlaceFile("/usr/local/bin/k3s", 0o755, artifact, digestOf(elf)); err != nil {
					return err
				}
				return r.Symlink("/usr/local/bin/kubectl", "k3s")
			},
		},
		{
			ID: "sysctl", Title: "Sysctl",
			Done: func(context.Context) (bool, error) {
				return h.is("/proc/sys/fs/inotify/max_user_watches", "524288\n"), nil
			},
			Do: func(_ context.Context, r *Recorder) error {
				conf := "fs.inotify.max_user_watches = 524288\n"
				if err := r.WriteFile("/etc/sysctl.d/90-pipeops-agent.conf", 0o644, []byte(conf)); err != nil {
					return err
				}
				return r.SetValue("/proc/sys/fs/inotify/max_user_watches", "524288")
			},
		},
		{
			ID: "config", Title: "Config",
			Done: func(context.Context) (bool, error) { return h.is("/etc/rancher/k3s/config.yaml", "ours\n"), nil },
			Do: func(_ context.Context, r *Recorder) error {
				if err := r.Remove("/etc/debris"); err != nil {
					return err
				}
				if err := r.MkdirAll("/var/lib/rancher/k3s/agent/images", 0o700); err != nil {
					return err
				}
				return r.WriteFile("/etc/rancher/k3s/config.yaml", 0o600, []byte("ours\n"))
			},
		},
		{
			ID: "unit", Title: "Unit",
			Done: func(context.Context) (bool, error) { return h.is("/units/k3s", "active"), nil },
			Do: func(_ context.Context, r *Recorder) error {
				if err := r.Own("/var/lib/kubelet"); err != nil {
					return err
				}
				return r.Note("unit", "k3s.service", "absent", "active", func() error {
					if err := h.serve(); err != nil {
						return err
					}
					return os.WriteFile(h.path("/units/k3s"), []byte("active"), 0o600)
				})
			},
			Prove: func(context.Context) error {
				if !h.is("/units/k3s", "active") {
					return errors.New("k3s is not active")
				}
				return nil
			},
			Commit: func(context.Context) error {
				if err := os.Remove(artifact); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
				return nil
			},
		},
		{ID: "ready", Title: "Ready", Prove: func(context.Context) error { return nil }},
	}}
}

// open opens the store; its end, or the test's, closes it.
func (h *fakeHost) open(point func()) *Store {
	h.t.Helper()
	s, err := Open(h.dir, h.root)
	if err != nil {
		h.t.Fatal(err)
	}
	s.Journal.lines.point, s.Ledger.lines.point = point, point
	s.Undo = map[Kind]func(context.Context, Record) ([]string, error){
		"unit": func(context.Context, Record) ([]string, error) {
			return nil, os.WriteFile(h.path("/units/k3s"), []byte("absent"), 0o600)
		},
	}
	return s
}

// serve is what the unit does once it runs: it fills its folder.
func (h *fakeHost) serve() error {
	pod := h.path("/var/lib/kubelet/pods/a/volumes")
	if err := os.MkdirAll(pod, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(pod, "data"), []byte("of a pod"), 0o600); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(pod, "link")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink("/etc", filepath.Join(pod, "link")) // out of the tree
}

func (h *fakeHost) run(p Plan) (Result, error) {
	h.t.Helper()
	s := h.open(nil)
	defer s.Close()
	r := &Runner{Store: s}
	return r.Run(h.t.Context(), p)
}

// tree is the machine, byte for byte: path, mode, content.
func (h *fakeHost) tree() string {
	h.t.Helper()
	var out []string
	err := filepath.WalkDir(h.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%s %v", strings.TrimPrefix(path, h.root), st.Mode())
		switch {
		case st.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %q", data)
		case st.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + to
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	sort.Strings(out)
	return strings.Join(out, "\n")
}

func digestOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
