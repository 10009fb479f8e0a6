package bootstrap

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/baseline"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/command"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const (
	// firstFile is how the machine was before the first install.
	firstFile = "first.json"
	// uninstallFile says with what an uninstall was begun, so that the next call goes on with the same.
	uninstallFile = "uninstall.json"
	// maxUninstallWish bounds what is read of it, in bytes.
	maxUninstallWish = 4 << 10
)

// Undoing is what an uninstall would do.
type Undoing struct {
	Changes []UndoneChange `json:"changes"` // in the order in which they are undone
	Volumes string         `json:"volumes,omitempty"`
	Keeps   []string       `json:"keeps,omitempty"`
	Removes []string       `json:"removes"` // beside the changes
}

// UndoneChange is a change of an install that would be undone.
type UndoneChange struct {
	Step   string `json:"step"`
	Title  string `json:"title"`
	Kind   string `json:"kind"`
	Target string `json:"target"`
}

// WouldUninstall says what an uninstall would do. It changes nothing.
func WouldUninstall(ctx context.Context, o UninstallOptions) (Undoing, error) {
	changes, err := plan.Peek(o.StateDir)
	if err != nil {
		return Undoing{}, err
	}
	if err := ownFolder(o.StateDir); err != nil {
		return Undoing{}, err
	}
	wish, _, err := readUninstallWish(o.StateDir)
	if err != nil {
		return Undoing{}, err
	}
	o.KeepData, o.KeepAgent = o.KeepData || wish.KeepData, o.KeepAgent || wish.KeepAgent
	return o.undoing(ctx, changes), nil
}

func (o UninstallOptions) undoing(ctx context.Context, changes []plan.Record) Undoing {
	u := Undoing{Changes: []UndoneChange{}, Removes: []string{}, Volumes: distro.Volumes(changes)}
	for _, c := range slices.Backward(changes) {
		u.Changes = append(u.Changes, UndoneChange{Step: c.Step, Title: c.Title, Kind: string(c.Kind), Target: c.Target})
	}
	if o.KeepData && u.Volumes != "" {
		u.Keeps = append(u.Keeps, u.Volumes)
	}
	if _, err := os.Stat(o.StateDir); err == nil {
		u.Removes = append(u.Removes, o.StateDir)
	}
	switch removable, owner := o.program(ctx); {
	case removable:
		u.Removes = append(u.Removes, o.Program)
	case owner != "":
		u.Keeps = append(u.Keeps, o.Program+" (of the package "+owner+")")
	}
	return u
}

// uninstallWish are the options of an uninstall that was begun.
type uninstallWish struct {
	Version   int    `json:"version"`
	KeepData  bool   `json:"keep_data,omitempty"`
	KeepAgent bool   `json:"keep_agent,omitempty"`
	Volumes   string `json:"volumes,omitempty"` // of the cluster that goes
}

// readUninstallWish returns with what an uninstall was begun, and whether one was. A damaged file counts as begun, and keeps all.
func readUninstallWish(dir string) (w uninstallWish, begun bool, err error) {
	raw, err := atomicfile.Read(filepath.Join(dir, uninstallFile), maxUninstallWish)
	if errors.Is(err, fs.ErrNotExist) {
		return w, false, nil
	}
	if disk := (*fs.PathError)(nil); errors.As(err, &disk) {
		return w, false, fmt.Errorf("cannot read how the uninstall was begun: %w", err)
	}
	return parseUninstallWish(raw), true, nil // one that is too large says nothing, as a damaged one does
}

func parseUninstallWish(raw []byte) uninstallWish {
	var w uninstallWish
	if json.Unmarshal(raw, &w) != nil || w.Version != 1 {
		return uninstallWish{Version: 1, KeepData: true, KeepAgent: true}
	}
	return w
}

// keepVolumes returns what an uninstall keeps: the folder of the volumes, by its name and wherever links on the way to it, or
// it itself, lead. Trees are deleted by their places behind all links.
func keepVolumes(volumes string) func(path string) bool {
	kept := []string{volumes}
	if place, err := filepath.EvalSymlinks(volumes); err == nil {
		kept = append(kept, place)
	}
	if above, err := filepath.EvalSymlinks(filepath.Dir(volumes)); err == nil {
		kept = append(kept, filepath.Join(above, filepath.Base(volumes)))
	}
	return func(path string) bool { return slices.Contains(kept, path) }
}

func writeUninstallWish(dir string, w uninstallWish) error {
	w.Version = 1
	raw, err := json.Marshal(w)
	if err == nil {
		err = atomicfile.Write(filepath.Join(dir, uninstallFile), 0o600, append(raw, '\n'))
	}
	if err != nil {
		return fmt.Errorf("cannot keep how the uninstall was begun: %w", err)
	}
	return nil
}

// endUninstall forgets an uninstall that was begun: first that it goes on by itself, and only then with what, or it would go on
// with nothing to be kept.
func endUninstall(dir string) error {
	if u, err := ReadUnfinished(dir); err == nil && u != nil && u.Command == plan.UninstallPlan {
		if err := removeNote(dir); err != nil {
			return err
		}
	}
	if err := atomicfile.Remove(filepath.Join(dir, uninstallFile)); err != nil {
		return fmt.Errorf("cannot end the uninstall: %w", err)
	}
	return nil
}

// keepFirst keeps how the machine is, unless something is installed already. An install ends an uninstall that was begun.
func keepFirst(ctx context.Context, dir string, store *plan.Store, facts host.Facts) error {
	if err := endUninstall(dir); err != nil {
		return err
	}
	if len(store.Ledger.Changes()) > 0 {
		return nil
	}
	return baseline.Take(ctx, baseline.Env{}, facts).Write(filepath.Join(dir, firstFile))
}

// clusterRuns reports whether a cluster runs on this machine. After an uninstall it is somebody else's.
func clusterRuns(f host.Facts) bool {
	return slices.ContainsFunc(f.Clusters, func(c host.Cluster) bool { return c.State == host.Running })
}

// sharedNode refuses where another cluster runs on this machine now that has the same folders, control groups and rules as the
// k3s that is to go: /var/lib/kubelet, kubepods, KUBE-*. Which of them are whose cannot be told any more.
func sharedNode(f host.Facts) error {
	for _, c := range f.Clusters {
		if c.State == host.Running && !c.Ours.Or(true) && slices.Contains([]string{"rke2", "k0s", "microk8s", "kubeadm"}, c.Name) {
			return reason.Newf(reason.ClusterForeign, "%s runs here, with the same kubelet folders, control groups and firewall chains as the k3s that would be removed", c.Name).
				WithFix("remove " + c.Name + " first, by its own means: otherwise its pods and their volumes would go with k3s")
		}
	}
	return nil
}

// sorted sorts differences by whose they are. What is left on purpose is neither. Where the cluster of somebody else runs, only
// what carries our name is ours.
func sorted(all []baseline.Difference, left []string, foreign bool) (ours, others []baseline.Difference) {
	for _, d := range all {
		name := d.Name
		if d.Kind == baseline.Sysctls {
			name = strings.ReplaceAll(name, "/", ".") + " stays"
		}
		onPurpose := slices.ContainsFunc(left, func(l string) bool {
			return strings.HasPrefix(l, name+":") || strings.HasPrefix(l, name+"/") || d.Kind == baseline.Sysctls && strings.HasPrefix(l, name)
		})
		switch {
		case onPurpose:
		case d.Ours && (!foreign || strings.Contains(d.Name, "pipeops")):
			ours = append(ours, d)
		default:
			others = append(others, d)
		}
	}
	return ours, others
}

// maxListed is how many things an error names.
const maxListed = 10

func listed(all []string) string {
	if n := len(all) - maxListed; n > 0 {
		all = append(slices.Clone(all[:maxListed]), fmt.Sprintf("and %d more", n))
	}
	return strings.Join(all, "; ")
}

// programDirs are where install.sh puts the program. From elsewhere it is not removed: somebody else has put it there.
func programDirs() []string { return []string{"/usr/local/bin", "/opt/bin"} }

// ownerLimit is for one question to a package manager.
const ownerLimit = 20 * time.Second

// program reports whether the program can be removed, and which package it belongs to, if any.
func (o UninstallOptions) program(ctx context.Context) (removable bool, owner string) {
	if o.Program == "" || o.KeepAgent || o.needed() != "" {
		return false, ""
	}
	for _, question := range [][]string{{"dpkg", "-S", o.Program}, {"rpm", "-qf", "--qf", "%{NAME}", o.Program}} {
		if out, err := command.Run(ctx, ownerLimit, question...); err == nil {
			name, _, _ := strings.Cut(strings.TrimSpace(string(out)), ":")
			return false, name
		}
	}
	dirs := o.programDirs
	if dirs == nil {
		dirs = programDirs()
	}
	return slices.Contains(dirs, filepath.Dir(o.Program)), ""
}

// needed returns the ledger of another install that goes on to need the program, "" if there is none.
func (o UninstallOptions) needed() string {
	ledger := cmp.Or(o.ledger, host.LedgerFile)
	if filepath.Dir(ledger) == filepath.Clean(o.StateDir) || !exists(ledger) {
		return ""
	}
	return ledger
}

// removeProgram removes the program, or says who can.
func (o UninstallOptions) removeProgram(ctx context.Context) error {
	removable, owner := o.program(ctx)
	switch {
	case o.needed() != "" && o.Program != "":
		o.Events(event("left", fmt.Sprintf("Left: %s: the install whose ledger is %s needs it", o.Program, o.needed()), nil))
	case owner != "":
		o.Events(event("left", fmt.Sprintf("Left: %s belongs to a package; to remove it: apt remove %s, or dnf remove %s", o.Program, owner, owner), nil))
	case removable:
		if err := atomicfile.Remove(o.Program); err != nil {
			return fmt.Errorf("cannot remove the program: %w", err)
		}
		o.Events(event("removed", "Removed: the program itself, "+o.Program, nil))
	}
	return nil
}

// Text is what an uninstall would do, for people.
func (u Undoing) Text() string {
	var out strings.Builder
	if len(u.Changes)+len(u.Removes) == 0 {
		return "Nothing is installed here by pipeops-agent\n"
	}
	step := ""
	for _, c := range u.Changes {
		if c.Step != step {
			step = c.Step
			fmt.Fprintf(&out, "undo: %s\n", c.Title)
		}
		fmt.Fprintf(&out, "  %s %s\n", c.Kind, c.Target)
	}
	for _, path := range u.Removes {
		fmt.Fprintf(&out, "remove: %s\n", path)
	}
	for _, path := range u.Keeps {
		fmt.Fprintf(&out, "keep: %s\n", path)
	}
	return out.String()
}
