package distro

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipeopshq/pipeops-agent/internal/artifact"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// downloadLimit is for both files, 130 MB, over a line of 0.25 Mbit/s. That a connection is dead is noticed much sooner.
const downloadLimit = 75 * time.Minute

// downloadAbout is what plan says of the size, in bytes: the binary has about 75 MB and the images of the releases on
// GitHub 160 to 180 MB. The digests of a release do not tell; a signed manifest will.
const downloadAbout = 250 << 20

func (in Install) artifacts() string { return filepath.Join(in.Dir, "artifacts") }

// k3sFile is a file of the release and its place on the machine.
type k3sFile struct {
	name, target string
	mode         fs.FileMode
}

func (k *k3sInstall) files() []k3sFile {
	return []k3sFile{
		{k.release.Binary(), k.binaryPath(), 0o755},
		{k.release.Images(), filepath.Join(k.imagesDir(), k.release.Images()), 0o644},
	}
}

// placed reports whether the file is in its place, as the release has it. Without a list of digests from an earlier run
// it cannot be.
func (k *k3sInstall) placed(f k3sFile) (bool, error) {
	want := k.release.Known(f.name)
	st, err := os.Lstat(k.path(f.target))
	if errors.Is(err, fs.ErrNotExist) || want == "" {
		return false, nil
	}
	if err != nil || !st.Mode().IsRegular() || st.Mode().Perm() != f.mode {
		return false, err
	}
	got, err := plan.Digest(k.path(f.target))
	return got == want, err
}

func (k *k3sInstall) fetched(f k3sFile) artifact.Download {
	return artifact.Download{
		URL: k.release.URL(f.name), SHA256: k.release.Known(f.name),
		Dir: k.artifacts(), Dest: filepath.Dir(k.path(f.target)),
	}
}

// download fetches what is not in its place yet, both files at once: a mirror's latency is waited for once.
func (k *k3sInstall) download() plan.Step {
	return plan.Step{
		ID: "k3s-download", Title: "Download k3s " + k.Version, Timeout: downloadLimit, Bytes: downloadAbout,
		Changes: []string{"downloads from " + k.release.URL("")},
		Done: func(context.Context) (bool, error) {
			for _, f := range k.files() {
				if ok, err := k.placed(f); err != nil || ok {
					if err != nil {
						return false, err
					}
					continue
				}
				d := k.fetched(f)
				if _, err := os.Stat(d.Path()); d.SHA256 == "" || err != nil {
					return false, nil
				}
			}
			return true, nil
		},
		Do: func(ctx context.Context, r *plan.Recorder) error {
			if _, err := k.release.Digest(ctx, k.fetcher, k.release.Binary()); err != nil {
				return err
			}
			var missing []artifact.Download
			for _, f := range k.files() {
				if _, err := k.release.Digest(ctx, k.fetcher, f.name); err != nil {
					return err
				}
				if ok, err := k.placed(f); err != nil {
					return err
				} else if !ok {
					missing = append(missing, k.fetched(f))
				}
			}
			err := k.fetch(ctx, r, missing)
			if reason.Is(err, reason.DownloadDigest) { // the list may be what is wrong: the next run asks anew
				err = errors.Join(err, k.release.Forget())
			}
			return err
		},
	}
}

func (k *k3sInstall) fetch(ctx context.Context, r *plan.Recorder, all []artifact.Download) error {
	var mu sync.Mutex
	done, total := make([]int64, len(all)), make([]int64, len(all))
	group, ctx := errgroup.WithContext(ctx)
	for i, d := range all {
		group.Go(func() error {
			return k.fetcher.Fetch(ctx, d, func(n, of int64) {
				mu.Lock()
				done[i], total[i] = n, of
				sumDone, sumTotal := sum(done), sum(total)
				if min(total[0], total[len(total)-1]) == 0 { // the other's size is not known yet
					sumTotal = 0
				}
				mu.Unlock()
				r.Progress(sumDone, sumTotal)
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
	}
}
