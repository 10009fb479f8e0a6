package distro

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/engine"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// Kinds of changes of minikube's driver none. What else such a node leaves is of the kinds that a k3s leaves.
//
// minikube delete is not called for it: it erases /etc/kubernetes/manifests, /var/lib/minikube and what kubeadm reset knows, whoever
// has put it there, and leaves everything else that is listed here.
const (
	minikubeNode   plan.Kind = "minikube-node"   // the kubelet, and the containers of pods. Undone first
	minikubeAlone  plan.Kind = "minikube-files"  // single files that are minikube's; before are those that were there
	minikubeShared plan.Kind = "minikube-shared" // the target is a file that others write, too; before is its mode where it was there
	minikubeHosts  plan.Kind = "minikube-hosts"  // lines of /etc/hosts; before are those that were there
	minikubeImages plan.Kind = "minikube-images" // names of images in the engine; before are those that were there
	minikubeEngine plan.Kind = "minikube-engine" // runtimes run with what minikube wrote; before are the units that ran without us. Undone last
)

// begin records all that minikube will make, before it makes any of it.
func (b bareMinikube) begin(ctx context.Context, r *plan.Recorder) error {
	var ran []string
	for _, name := range []string{"containerd.service", dockerUnit, criDockerUnit, criSocketUnit} {
		state, err := b.Units.State(ctx, name)
		if err != nil {
			return err
		}
		if state.Active == "active" && !r.Settled(unitStarted, name) {
			ran = append(ran, name)
		}
	}
	if err := r.Expect(minikubeEngine, dockerUnit, ran); err != nil {
		return err
	}
	for _, name := range minikubeNoneShared() {
		if err := b.lend(r, name); err != nil {
			return err
		}
	}
	if err := b.expect(ctx, r, minikubeNoneData, minikubeNoneTrees()); err != nil {
		return err
	}
	for _, dir := range minikubeNoneFolders() {
		if err := r.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	lines, err := b.hostLines()
	if err != nil {
		return err
	}
	images, err := b.imageNames(ctx)
	if err != nil {
		return err
	}
	return errors.Join(
		r.Expect(minikubeAlone, minikubeNoneTarget(), b.aloneFiles()),
		r.Expect(minikubeHosts, hostsFile, lines),
		r.Expect(minikubeImages, minikubeNoneTarget(), images),
		r.Expect(minikubeNode, minikubeNoneTarget(), nil),
	)
}

// undoMinikubeNone returns how that is undone.
func (in Install) undoMinikubeNone() map[plan.Kind]func(context.Context, plan.Record) ([]string, error) {
	b := bareMinikube{&nodeCluster{Install: in, nodes: minikubeNoneNode()}}
	return map[plan.Kind]func(context.Context, plan.Record) ([]string, error){
		minikubeNode:   b.removeNode,
		minikubeShared: b.giveBack,
		minikubeImages: b.removeImages,
		minikubeAlone: func(_ context.Context, c plan.Record) ([]string, error) {
			var errs []error
			for _, file := range b.aloneFiles() {
				if !slices.Contains(c.Before.Names, file) {
					errs = append(errs, atomicfile.Remove(b.path(file)))
				}
			}
			return nil, errors.Join(errs...)
		},
		minikubeHosts: func(_ context.Context, c plan.Record) ([]string, error) {
			return nil, b.removeHostLines(c.Before.Names)
		},
		minikubeEngine: func(ctx context.Context, c plan.Record) ([]string, error) {
			errs := []error{b.Units.Reload(ctx)}
			for _, name := range c.Before.Names {
				state, err := b.Units.State(ctx, name)
				if errs = append(errs, err); state.Active == "active" { // else somebody has stopped or removed it since
					errs = append(errs, b.Units.RestartNoWait(ctx, name))
				}
			}
			return nil, errors.Join(errs...)
		},
	}
}

// removeNode stops the kubelet, and then the pods, which nobody makes anew: their containers have a label of the kubelet's.
func (b bareMinikube) removeNode(ctx context.Context, _ plan.Record) ([]string, error) {
	if err := errors.Join(b.Units.StopAll(ctx, kubeletUnit), b.Units.ResetFailed(ctx, kubeletUnit), atomicfile.Remove(b.path(b.nodes.kubeconfigFile()))); err != nil {
		return nil, err
	}
	if b.engineGone() {
		return nil, nil
	}
	c, err := b.engineOf(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	pods, err := c.Containers(ctx, "io.kubernetes.pod.uid")
	if err != nil {
		return nil, err
	}
	for _, p := range pods {
		if err := c.RemoveContainer(ctx, p.ID); err != nil && !engine.NotFound(err) {
			return nil, err
		}
	}
	return nil, nil
}

// aloneFiles lists those files of minikube's that are there, with the links by which programs find its certificate: their names are
// made of its digest.
func (b bareMinikube) aloneFiles() []string {
	var all []string
	for _, file := range minikubeNoneFiles() {
		if _, err := os.Lstat(b.path(file)); err == nil {
			all = append(all, file)
		}
	}
	links, _ := filepath.Glob(b.path(certificates + "/*.0")) // the pattern is good
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && filepath.Base(to) == minikubeCA {
			all = append(all, certificates+"/"+filepath.Base(link))
		}
	}
	slices.Sort(all)
	return all
}

// Files that others write, too, are kept as they were. What minikube made of them is noted when it has ended well: an undo gives back
// those only that nobody has changed since.

// lentDir holds the copies.
func (b bareMinikube) lentDir() string { return filepath.Join(b.Dir, "minikube-none") }

func (b bareMinikube) lentCopy(target string) string {
	return filepath.Join(b.lentDir(), strings.ReplaceAll(strings.Trim(target, "/"), "/", "-"))
}

func (b bareMinikube) lentDigests() string { return filepath.Join(b.lentDir(), "digests.json") }

// lend keeps a copy of a file, and then records it.
func (b bareMinikube) lend(r *plan.Recorder, target string) error {
	if _, again := r.Recorded(minikubeShared, target); again {
		return nil
	}
	st, err := os.Lstat(b.path(target))
	if errors.Is(err, fs.ErrNotExist) {
		return r.Expect(minikubeShared, target, nil)
	}
	if err != nil {
		return fmt.Errorf("cannot look at %s: %w", target, err)
	}
	if !st.Mode().IsRegular() {
		return reason.Newf(reason.MinikubeNone, "%s, which minikube writes to, is no file but %s", target, st.Mode()).
			WithFix("make it a file, or remove it")
	}
	text, err := os.ReadFile(b.path(target))
	if err != nil {
		return fmt.Errorf("cannot keep a copy of %s: %w", target, err)
	}
	if err := errors.Join(os.MkdirAll(b.lentDir(), 0o700), atomicfile.Write(b.lentCopy(target), 0o600, text)); err != nil {
		return fmt.Errorf("cannot keep a copy of %s: %w", target, err)
	}
	return r.Expect(minikubeShared, target, []string{fmt.Sprintf("%04o", st.Mode().Perm())})
}

// written notes what minikube has made of the files. A start at a later boot notes nothing: what somebody has changed since stays his.
func (b bareMinikube) written() error {
	if _, err := os.Lstat(b.lentDigests()); err == nil {
		return nil
	}
	digests := map[string]string{}
	for _, target := range minikubeNoneShared() {
		got, err := plan.Digest(b.path(target))
		if err == nil {
			digests[target] = got
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	text, err := json.Marshal(digests)
	if err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll(b.lentDir(), 0o700), atomicfile.Write(b.lentDigests(), 0o600, text)); err != nil {
		return fmt.Errorf("cannot note what minikube has written: %w", err)
	}
	return nil
}

// giveBack makes a file what it was, unless somebody has changed it since.
func (b bareMinikube) giveBack(_ context.Context, c plan.Record) ([]string, error) {
	now, err := plan.Digest(b.path(c.Target))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // somebody has removed it since, or it never was
	}
	if err != nil {
		return nil, err
	}
	was, err := plan.Digest(b.lentCopy(c.Target))
	if err == nil && was == now {
		return nil, nil
	}
	if text, err := os.ReadFile(b.lentDigests()); err == nil {
		var digests map[string]string
		if err := json.Unmarshal(text, &digests); err != nil {
			return nil, fmt.Errorf("cannot read what minikube has written: %w", err)
		}
		if digests[c.Target] != now {
			return []string{c.Target + ": somebody else has changed it"}, nil
		}
	}
	if len(c.Before.Names) == 0 {
		return nil, atomicfile.Remove(b.path(c.Target))
	}
	text, err := os.ReadFile(b.lentCopy(c.Target))
	if err != nil {
		return nil, fmt.Errorf("cannot read the copy of %s: %w", c.Target, err)
	}
	var mode fs.FileMode
	if _, err := fmt.Sscanf(c.Before.Names[0], "%o", &mode); err != nil {
		return nil, fmt.Errorf("cannot read the mode of %s: %w", c.Target, err)
	}
	return nil, atomicfile.Write(b.path(c.Target), mode, text)
}

// hostLines are the lines of /etc/hosts with a name of minikube's.
func (b bareMinikube) hostLines() ([]string, error) {
	text, err := os.ReadFile(b.path(hostsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		if minikubeLine(line) {
			all = append(all, strings.TrimSuffix(line, "\n"))
		}
	}
	return all, err
}

// minikubeLine tells whether a line is as minikube writes it: an address, a tab, and one of its names.
func minikubeLine(line string) bool {
	_, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
	return ok && slices.Contains(minikubeNames(), name)
}

// removeHostLines removes those that have come since. It writes into the file that is there, as minikube does: in some machines it is
// a mount.
func (b bareMinikube) removeHostLines(before []string) error {
	text, err := os.ReadFile(b.path(hostsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var kept strings.Builder
	for line := range strings.Lines(string(text)) {
		if !minikubeLine(line) || slices.Contains(before, strings.TrimSuffix(line, "\n")) {
			kept.WriteString(line)
		}
	}
	if kept.String() == string(text) {
		return nil
	}
	f, err := os.OpenFile(b.path(hostsFile), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(kept.String())
	return errors.Join(err, f.Sync(), f.Close())
}

// imageNames are the names of images in the engine.
func (b bareMinikube) imageNames(ctx context.Context) ([]string, error) {
	c, err := b.engineOf(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	all, err := c.Images(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, i := range all {
		names = append(names, i.Tags...)
		if len(i.Tags) == 0 {
			names = append(names, i.Digests...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// removeImages removes those of Kubernetes and of minikube that have come since. Whether pods have had others pulled, or somebody else,
// the engine does not tell: they stay, and so does what is in use.
func (b bareMinikube) removeImages(ctx context.Context, c plan.Record) ([]string, error) {
	if b.engineGone() {
		return nil, nil
	}
	now, err := b.imageNames(ctx)
	if err != nil {
		return nil, err
	}
	client, err := b.engineOf(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var left []string
	for _, name := range now {
		if !minikubeImage(name) || slices.Contains(c.Before.Names, name) {
			continue
		}
		switch err := client.RemoveImage(ctx, name); {
		case err == nil, engine.NotFound(err):
		case engine.Conflict(err):
			left = append(left, "image "+name)
		default:
			return left, err
		}
	}
	return left, nil
}
