package distro

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/artifact"
	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// nodesAbout is what plan says of the size of the download where no manifest is known yet, in bytes: a program of 25 MB and an
// image of 250 MB.
const nodesAbout = 275 << 20

// wanted is a file of the manifest.
type wanted struct{ product, version, role string }

// program is the distribution's own program in the manifest.
func (n *nodeCluster) program() wanted { return wanted{n.nodes.name, n.nodes.version, "binary"} }

// archive is an image's archive in the manifest.
func (n *nodeCluster) archive(i nodeImage) wanted { return wanted{n.nodes.name, i.version, i.role} }

// digestRole is the role of an entry that is no file, but says what the digest of an image in its registry is.
const digestRole = "-digest"

// listed returns what the manifest says of a file.
func (n *nodeCluster) listed(w wanted) (manifest.File, bool) {
	m, ok := n.manifests.Known()
	if !ok {
		return manifest.File{}, false
	}
	return m.Find(w.product, w.version, n.Arch, w.role)
}

// fetched is the download of a file that is listed.
func (n *nodeCluster) fetched(w wanted) artifact.Download {
	f, _ := n.listed(w)
	return artifact.Download{URLs: n.manifests.URLs(f), SHA256: f.SHA256, Bytes: f.Bytes, Dir: n.artifacts(), Dest: n.Dir}
}

// needed lists the files that are neither in their place nor downloaded.
func (n *nodeCluster) needed(ctx context.Context) ([]wanted, error) {
	var all []wanted
	if ok, err := n.toolPlaced(); err != nil {
		return nil, err
	} else if !ok {
		all = append(all, n.program())
	}
	missing := n.missingImages(ctx)
	for _, i := range missing {
		if _, ok := n.listed(n.archive(i)); ok {
			all = append(all, n.archive(i))
		}
	}
	var needed []wanted
	for _, w := range all {
		if _, listed := n.listed(w); listed {
			if _, err := os.Stat(n.fetched(w).Path()); err == nil {
				continue
			}
		}
		needed = append(needed, w)
	}
	return needed, nil
}

// download fetches the program and the archives of images that the engine lacks. Before, it asks for a newer manifest.
func (n *nodeCluster) download() (plan.Step, error) {
	step := plan.Step{
		ID: n.nodes.name + "-download", Title: "Download " + n.nodes.name + " " + n.nodes.version, Timeout: downloadLimit,
		Done: func(ctx context.Context) (bool, error) {
			needed, err := n.needed(ctx)
			return err == nil && len(needed) == 0 && n.obtainable(ctx) == nil, err
		},
		Prepare: func(ctx context.Context, progress func(done, total int64)) error {
			if err := n.changeable(ctx); err != nil { // before anything is fetched for it
				return err
			}
			m, err := n.manifests.Fetch(ctx, n.fetcher)
			if err != nil {
				return err
			}
			needed, err := n.needed(ctx)
			if err != nil {
				return err
			}
			var all []artifact.Download
			for _, w := range needed {
				if _, ok := n.listed(w); !ok {
					return artifact.Lacks(m, w.product, w.version, n.Arch, w.role)
				}
				all = append(all, n.fetched(w))
			}
			if err := n.obtainable(ctx); err != nil {
				return err
			}
			return fetchAll(ctx, n.fetcher, all, progress)
		},
	}
	if n.Units != nil && !n.Shown {
		return step, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), shownTimeout)
	defer cancel()
	needed, err := n.needed(ctx)
	if errors.Is(err, fs.ErrPermission) { // others than root are shown a plan, too
		return step, nil
	}
	for _, w := range needed {
		f, listed := n.listed(w)
		step.Bytes += f.Bytes
		step.About = step.About || !listed
		step.Changes = []string{"downloads of " + n.nodes.name + " " + n.nodes.version}
	}
	if step.About {
		step.Bytes = cmp.Or(n.nodes.about, nodesAbout)
	}
	return step, err
}

// shownTimeout is how long a plan waits for the engine to say what it has.
const shownTimeout = 5 * time.Second

// toolPath is where the program is: in the folder for such, unless somebody else has put one of that name there or elsewhere,
// which is neither touched nor trusted. Then it is in the state folder, which goes as a whole.
func (n *nodeCluster) toolPath() (path string, own bool) {
	usual := filepath.Join(k3sBinDir, n.nodes.name)
	if n.recorded(usual) || !hasCommand(n.Install, n.nodes.name) {
		return n.path(usual), false
	}
	return filepath.Join(n.Dir, "bin", n.nodes.name), true
}

// hasCommand reports whether there is a command of this name where root finds it; a dangling link is somebody's too.
func hasCommand(in Install, name string) bool {
	return (&k3sInstall{Install: in, binDir: k3sBinDir}).hasCommand(name)
}

// toolPlaced reports whether the program is in its place, as the manifest has it. Without a manifest it cannot be.
func (n *nodeCluster) toolPlaced() (bool, error) {
	want, known := n.listed(n.program())
	path, _ := n.toolPath()
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || !known {
		return false, nil
	}
	if err != nil || !st.Mode().IsRegular() || st.Mode().Perm() != 0o755 || st.Size() != want.Bytes {
		return false, err
	}
	got, err := plan.Digest(path)
	return got == want.SHA256, err
}

// tool puts the program into its place. Nothing that was downloaded is needed after it.
func (n *nodeCluster) tool() plan.Step {
	return plan.Step{
		ID: n.nodes.name + "-binary", Title: "Install " + n.nodes.name,
		Changes: []string{filepath.Join(k3sBinDir, n.nodes.name) + " (in the state folder, where somebody else has one)"},
		Done:    func(context.Context) (bool, error) { return n.toolPlaced() },
		Do: func(_ context.Context, r *plan.Recorder) error {
			d := n.fetched(n.program())
			path, own := n.toolPath()
			if !own {
				return r.PlaceFile(filepath.Join(k3sBinDir, n.nodes.name), 0o755, d.Path(), d.SHA256)
			}
			if got, err := plan.Digest(d.Path()); err != nil || got != d.SHA256 {
				return errors.Join(err, reason.Newf(reason.DownloadDigest, "%s has SHA-256 %s, not %s", d.Path(), got, d.SHA256))
			}
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return fmt.Errorf("cannot make the folder of %s: %w", path, err)
			}
			return atomicfile.Place(path, 0o755, d.Path())
		},
		Commit: func(context.Context) error { return artifact.Prune(n.artifacts()) },
	}
}

// call runs the program. Its home is a folder of ours: it shall find no settings of root's, and leave none.
func (n *nodeCluster) call(ctx context.Context, limit time.Duration, args ...string) ([]byte, error) {
	path, own := n.toolPath()
	if own && n.runsAs() != "" {
		return nil, reason.Newf(reason.StepFailed, "the user %s cannot run %s in the state folder, where it is since somebody else has one", n.nodes.user, n.nodes.name).
			WithFix("remove the other " + n.nodes.name + ", then run the command again")
	}
	home := filepath.Join(n.Dir, "home")
	if n.nodes.home != "" {
		home = n.path(n.nodes.home)
	}
	argv := append([]string{"env", "HOME=" + home}, n.nodes.env(n.Install)...)
	argv = append(argv, "DOCKER_HOST=unix://"+n.engineSocket())
	return n.runFor(ctx, limit, n.as(append(append(argv, path), args...)...)...)
}
