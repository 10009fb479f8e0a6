package distro

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/artifact"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/engine"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// imagesLimit is for all images of a cluster, over a slow line.
const imagesLimit = 2 * time.Hour

// missingImages returns the images that the engine does not have: all of them, where it does not answer.
func (n *nodeCluster) missingImages(ctx context.Context) []nodeImage {
	all := n.nodes.images(n.Install)
	c, err := n.engine(ctx)
	if err != nil {
		return all
	}
	defer c.Close()
	return slices.DeleteFunc(slices.Clone(all), func(i nodeImage) bool {
		_, err := c.Image(ctx, i.ref)
		return err == nil
	})
}

// obtainable returns why an image that the engine lacks can be had from nowhere: the manifest has neither its archive nor its digest.
// An image is never pulled by a name that somebody could give to another one.
func (n *nodeCluster) obtainable(ctx context.Context) error {
	for _, i := range n.missingImages(ctx) {
		_, archive := n.listed(n.archive(i))
		_, digest := n.registryDigest(i)
		if m, known := n.manifests.Known(); !archive && !digest && known {
			why := artifact.Lacks(m, n.nodes.name, i.version, n.Arch, i.role)
			return reason.New(reason.EngineImageMissing, "the engine has no image "+i.ref, why).
				WithFix("name a version that is listed by --k3s-version, or a mirror that lists it by --mirror; or " + i.loadable())
		}
	}
	return nil
}

// loadable says how somebody gives the engine an image: what is there by its name is used.
func (i nodeImage) loadable() string {
	return "load it: docker save -o FILE " + i.ref + " where it is, docker load -i FILE here, then run the command again"
}

// digest is the entry of the manifest with the digest of an image.
func (n *nodeCluster) digest(i nodeImage) wanted {
	return wanted{n.nodes.name, i.version, i.role + digestRole}
}

// registryDigest is the digest of an image in its registry: that of the manifest, or else the one that is built in.
func (n *nodeCluster) registryDigest(i nodeImage) (string, bool) {
	if f, ok := n.listed(n.digest(i)); ok {
		return f.SHA256, true
	}
	return i.sha256, i.sha256 != ""
}

// images gives the engine what it lacks. An image that was there stays what it was, and is there after an uninstall.
func (n *nodeCluster) images() plan.Step {
	step := plan.Step{
		ID: n.nodes.name + "-images", Title: "Give the engine the images of the nodes", Timeout: imagesLimit,
		Done: func(ctx context.Context) (bool, error) {
			if err := n.answers(ctx); err != nil {
				return false, nil
			}
			return len(n.missingImages(ctx)) == 0, nil
		},
		Do: func(ctx context.Context, r *plan.Recorder) error {
			c, err := n.engineOf(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			for _, i := range n.missingImages(ctx) {
				err := r.Note(containerImage, i.ref, "absent", "present", func() error { return n.give(ctx, c, i) })
				if err != nil {
					return err
				}
			}
			return nil
		},
		Commit: func(context.Context) error {
			if placed, err := n.toolPlaced(); !placed {
				return err // the program is among what was downloaded
			}
			return artifact.Prune(n.artifacts())
		},
	}
	for _, i := range n.nodes.images(n.Install) {
		step.Changes = append(step.Changes, "image "+i.ref)
	}
	return step
}

// give loads an image from its archive, or lets the engine pull it by its digest.
func (n *nodeCluster) give(ctx context.Context, c *engine.Client, i nodeImage) error {
	if _, ok := n.listed(n.archive(i)); ok {
		return n.load(ctx, c, i)
	}
	digest, ok := n.registryDigest(i)
	if !ok {
		return n.obtainable(ctx)
	}
	name, tag, _ := strings.Cut(i.ref, ":")
	if err := c.PullImage(ctx, name, "sha256:"+digest, nil); err != nil {
		return reason.New(reason.EngineImageMissing, i.ref, err).
			WithFix("let the engine reach the registry, or name a mirror that has the image by --mirror; or " + i.loadable())
	}
	return c.TagImage(ctx, name+"@sha256:"+digest, name, tag)
}

// load loads an archive. What it holds must be what it is there for: another image of the same name would be used unseen.
func (n *nodeCluster) load(ctx context.Context, c *engine.Client, i nodeImage) error {
	d := n.fetched(n.archive(i))
	got, err := plan.Digest(d.Path())
	if err != nil {
		return fmt.Errorf("cannot read the archive of %s: %w", i.ref, err)
	}
	if got != d.SHA256 {
		return reason.Newf(reason.DownloadDigest, "%s has SHA-256 %s, not %s", d.Path(), got, d.SHA256)
	}
	f, err := os.Open(d.Path())
	if err != nil {
		return fmt.Errorf("cannot read the archive of %s: %w", i.ref, err)
	}
	defer f.Close()
	if err := c.LoadImages(ctx, f); err != nil {
		return err
	}
	if _, err := c.Image(ctx, i.ref); err != nil {
		return fmt.Errorf("cannot use the archive of %s: %w", i.ref, err)
	}
	return nil
}
