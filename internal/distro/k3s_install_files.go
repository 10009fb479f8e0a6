package distro

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipeopshq/pipeops-agent/internal/artifact"
	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
)

// downloadLimit is for both files, 130 MB, over a line of 0.25 Mbit/s. That a connection is dead is noticed much sooner.
const downloadLimit = 75 * time.Minute

// downloadAbout is what plan says of the size where no manifest is known yet, in bytes: the binary has about 75 MB and the
// images of the releases on GitHub 160 to 180 MB.
const downloadAbout = 250 << 20

func (in Install) artifacts() string { return filepath.Join(in.Dir, "artifacts") }

// k3sFile is a file of the release, by its role in the manifest, and its place on the machine.
type k3sFile struct {
	role, target string
	mode         fs.FileMode
}

func (k *k3sInstall) files() []k3sFile {
	return []k3sFile{
		{"binary", k.binaryPath(), 0o755},
		{"images", filepath.Join(k.imagesDir(), "k3s-airgap-images-"+k.Arch+".tar.zst"), 0o644},
	}
}

// known returns what the manifest says of the file; false where no manifest is known or it does not list the file.
func (k *k3sInstall) known(f k3sFile) (manifest.File, bool) {
	m, ok := k.manifests.Known()
	if !ok {
		return manifest.File{}, false
	}
	return m.Find("k3s", k.Version, k.Arch, f.role)
}

// placed reports whether the file is in its place, as the manifest has it. Without a manifest it cannot be.
func (k *k3sInstall) placed(f k3sFile) (bool, error) {
	want, known := k.known(f)
	st, err := os.Lstat(k.path(f.target))
	if errors.Is(err, fs.ErrNotExist) || !known {
		return false, nil
	}
	if err != nil || !st.Mode().IsRegular() || st.Mode().Perm() != f.mode || st.Size() != want.Bytes {
		return false, err
	}
	got, err := plan.Digest(k.path(f.target))
	return got == want.SHA256, err
}

// fetched is the download of a file that is known.
func (k *k3sInstall) fetched(f k3sFile) artifact.Download {
	file, _ := k.known(f)
	return artifact.Download{
		URLs: k.manifests.URLs(file), SHA256: file.SHA256, Bytes: file.Bytes,
		Dir: k.artifacts(), Dest: filepath.Dir(k.path(f.target)),
	}
}

// unfetched returns the files that are neither in their place nor downloaded; about means that no manifest is known, so that
// these are all and their size is a guess.
func (k *k3sInstall) unfetched() (files []k3sFile, bytes int64, about bool, err error) {
	if _, known := k.manifests.Known(); !known {
		return k.files(), downloadAbout, true, nil
	}
	for _, f := range k.files() {
		if ok, err := k.placed(f); err != nil {
			return nil, 0, false, err
		} else if ok {
			continue
		}
		file, listed := k.known(f)
		if _, err := os.Stat(k.fetched(f).Path()); err == nil && listed {
			continue
		}
		files, bytes, about = append(files, f), bytes+file.Bytes, about || !listed
	}
	if about { // the manifest that is asked for may list them
		bytes = downloadAbout
	}
	return files, bytes, about, nil
}

// download fetches what is not in its place yet, both files at once: a mirror's latency is waited for once. Before, it asks
// for a newer manifest.
func (k *k3sInstall) download() (plan.Step, error) {
	step := plan.Step{
		ID: "k3s-download", Title: "Download k3s " + k.Version, Timeout: downloadLimit,
		Done: func(context.Context) (bool, error) {
			missing, _, _, err := k.unfetched()
			return err == nil && len(missing) == 0, err
		},
		Prepare: func(ctx context.Context, progress func(done, total int64)) error {
			m, err := k.manifests.Fetch(ctx, k.fetcher)
			if err != nil {
				return err
			}
			for _, f := range k.files() {
				if _, ok := k.known(f); !ok {
					return artifact.Lacks(m, "k3s", k.Version, k.Arch, f.role)
				}
			}
			missing, _, _, err := k.unfetched()
			if err != nil {
				return err
			}
			var all []artifact.Download
			for _, f := range missing {
				all = append(all, k.fetched(f))
			}
			return fetchAll(ctx, k.fetcher, all, progress)
		},
	}
	if k.Units != nil && !k.Shown { // what is there is looked at when the step is run, not twice
		return step, nil
	}
	missing, bytes, about, err := k.unfetched()
	if errors.Is(err, fs.ErrPermission) { // others than root are shown a plan, too
		return step, nil
	}
	if len(missing) > 0 {
		step.Bytes, step.About = bytes, about
		step.Changes = []string{"downloads from " + k.from()}
	}
	return step, err
}

// from names the place of the release for people.
func (k *k3sInstall) from() string {
	release := "k3s-io/k3s/releases/download/" + k.Version + "/"
	return strings.Join(k.manifests.URLs(manifest.File{Origin: manifest.Origin, Path: release}), " or ")
}

// fetchAll downloads files at the same time.
func fetchAll(ctx context.Context, fetcher *artifact.Fetcher, all []artifact.Download, progress func(done, total int64)) error {
	if len(all) == 0 {
		return nil
	}
	if err := fetcher.Fits(all...); err != nil {
		return err
	}
	var mu sync.Mutex
	var total int64
	for _, d := range all {
		total += d.Bytes
	}
	done := make([]int64, len(all))
	group, ctx := errgroup.WithContext(ctx)
	for i, d := range all {
		group.Go(func() error {
			return fetcher.Fetch(ctx, d, func(n, _ int64) {
				mu.Lock()
				done[i] = n
				sumDone := sum(done)
				mu.Unlock()
				progress(sumDone, total)
			})
		})
	}
	return group.Wait()
}

func sum(all []int64) (n int64) {
	for _, v := range all {
		n += v
	}
	return n
}

// binary puts k3s into its place, and the commands that it also is where the machine has none of that name.
func (k *k3sInstall) binary() plan.Step {
	file := k.files()[0]
	return plan.Step{
		ID: "k3s-binary", Title: "Install the k3s binary",
		Changes: []string{k.binaryPath(), k.binDir + "/{kubectl,crictl,ctr} -> k3s, where there is none"},
		Done:    func(context.Context) (bool, error) { return k.placed(file) },
		Do: func(_ context.Context, r *plan.Recorder) error {
			d := k.fetched(file)
			if err := r.PlaceFile(file.target, file.mode, d.Path(), d.SHA256); err != nil {
				return err
			}
			for _, name := range []string{"kubectl", "crictl", "ctr"} {
				if k.hasCommand(name) {
					continue
				}
				if err := r.Symlink(filepath.Join(k.binDir, name), "k3s"); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// hasCommand reports whether there is a command of this name where root finds it; a dangling link is somebody's too.
func (k *k3sInstall) hasCommand(name string) bool {
	for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/snap/bin", k.binDir} {
		if _, err := os.Lstat(k.path(filepath.Join(dir, name))); err == nil {
			return true
		}
	}
	return false
}

// images puts the archive where k3s imports it from at its start.
func (k *k3sInstall) images() plan.Step {
	file := k.files()[1]
	return plan.Step{
		ID: "k3s-images", Title: "Install the images of k3s", Changes: []string{file.target},
		Done: func(context.Context) (bool, error) { return k.placed(file) },
		Do: func(_ context.Context, r *plan.Recorder) error {
			d := k.fetched(file)
			return r.PlaceFile(file.target, file.mode, d.Path(), d.SHA256)
		},
		Commit: func(context.Context) error { return artifact.Prune(k.artifacts()) }, // all is in its place; what is left was for another version
	}
}
