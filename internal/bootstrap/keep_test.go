package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// TestVolumesAreKeptBehindLinks has the folder of k3s, one above it, or that of the volumes lie on another disk, by a link.
func TestVolumesAreKeptBehindLinks(t *testing.T) {
	for name, link := range map[string]string{"none": "", "above": "rancher", "the folder of k3s": "rancher/k3s", "the volumes": "rancher/k3s/storage"} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			k3s := filepath.Join(top, "rancher/k3s")
			if link != "" {
				path, disk := filepath.Join(top, link), filepath.Join(top, "disk")
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Mkdir(disk, 0o755), os.Symlink(disk, path)); err != nil {
					t.Fatal(err)
				}
			}
			store, err := plan.Open(filepath.Join(top, "state"), "")
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			data := filepath.Join(k3s, "storage/pvc-1/data")
			_, err = (&plan.Runner{Store: store}).Run(t.Context(), plan.Plan{Name: installCommand, Steps: []plan.Step{{
				ID: "k3s-unit", Do: func(_ context.Context, r *plan.Recorder) error {
					if err := errors.Join(r.Own(k3s), os.MkdirAll(k3s+"/storage", 0o755), r.Own(k3s+"/storage")); err != nil {
						return err
					}
					return errors.Join(os.MkdirAll(filepath.Dir(data), 0o755), os.WriteFile(data, []byte("precious"), 0o600),
						os.WriteFile(k3s+"/server", nil, 0o600))
				},
			}}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := (&plan.Uninstaller{Store: store, Keep: keepVolumes(k3s + "/storage")}).Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if content, err := os.ReadFile(data); err != nil || string(content) != "precious" {
				t.Errorf("the volume is gone: %v", err)
			}
			gone(t, k3s+"/server")
		})
	}
}

// TestAnInstallEndsAnUninstallWithItsNote is an uninstall that was to keep the volumes, and was killed; an install that came to
// nothing must not let it go on without its wish.
func TestAnInstallEndsAnUninstallWithItsNote(t *testing.T) {
	m := newMachine(t)
	store, err := plan.Open(m.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	g := newGuard(store, m.dir, plan.UninstallPlan)
	g.Root, g.Settings = m.root, func() (json.RawMessage, error) { return json.RawMessage("{}"), nil }
	if err := errors.Join(writeUninstallWish(m.dir, uninstallWish{KeepData: true}), g.Begin(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := endUninstall(m.dir); err != nil {
		t.Fatal(err)
	}
	if u := m.note(); u != nil {
		t.Errorf("it would go on: %+v", u)
	}
	if _, begun, err := readUninstallWish(m.dir); err != nil || begun {
		t.Errorf("begun %v, %v", begun, err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	m.killed("k3s-unit")
	if err := endUninstall(m.dir); err != nil || m.note() == nil {
		t.Errorf("the note of an install is gone: %v", err)
	}
}

// TestAnUninstallDoesNotGoOnWithoutItsWish wants nothing to be deleted by itself where nobody knows what was to be kept.
func TestAnUninstallDoesNotGoOnWithoutItsWish(t *testing.T) {
	o, _ := removal(t)
	store, err := plan.Open(o.StateDir, "")
	if err != nil {
		t.Fatal(err)
	}
	g := newGuard(store, o.StateDir, plan.UninstallPlan)
	g.Root, g.Settings = t.TempDir(), func() (json.RawMessage, error) { return json.RawMessage("{}"), nil }
	if err := errors.Join(g.Begin(t.Context()), store.Close()); err != nil {
		t.Fatal(err)
	}
	r := Resumer{Dir: o.StateDir, Root: g.Root, Operations: map[string]Operation{
		plan.UninstallPlan: UninstallOperation(func() (UninstallOptions, error) { return o, nil }),
	}}
	if err := r.Run(t.Context()); !reason.Is(err, reason.NotResumed) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(o.StateDir, "journal.jsonl")); err != nil {
		t.Errorf("it went on: %v", err)
	}
	if u, err := ReadUnfinished(o.StateDir); err != nil || u != nil {
		t.Errorf("it will be tried again: %+v, %v", u, err)
	}
}

func TestAWishThatIsTooLargeKeepsAll(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, uninstallFile)
	if err := os.WriteFile(path, append([]byte(`{"version":1}`), make([]byte, maxUninstallWish)...), 0o600); err != nil {
		t.Fatal(err)
	}
	if w, begun, err := readUninstallWish(dir); err != nil || !begun || !w.KeepData || !w.KeepAgent {
		t.Errorf("%+v, begun %v, %v", w, begun, err)
	}
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := readUninstallWish(dir); err == nil {
		t.Error("what cannot be read is taken for none")
	}
}
