// Package rig is what stands around the machines of the lab: a gateway, a mirror of what is installed, the release page of
// pipeops-agent itself, and a sample project. The demo, the end-to-end tests and the benchmark share it.
package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/test/lab"
)

// Paths in the checkout where make leaves what a rig needs.
const (
	Dist      = "dist"               // made by: make dist
	SampleTar = "bin/sample-web.tar" // made by: make sample
)

// Disable lists the parts of k3s whose images no registry of the lab has.
const Disable = "traefik,servicelb,local-storage"

// SampleImage is the image in SampleTar; it answers on port 8080.
const SampleImage = "pipeops.local/sample-web:1"

// Rig is running servers around the lab.
type Rig struct {
	Lab     *lab.Lab
	Gateway *Gateway
	Dist    *lab.Server // the release page of pipeops-agent
	Mirror  *lab.Server // of all that is installed, laid out as the origins are
	Release string      // the folder of the k3s release behind the mirror

	root  string // of the checkout
	dir   string
	built []manifest.File // what was added to the mirror beside k3s and ourselves
}

// Start starts all of a rig for the checkout in the given folder. What it writes goes to dir, which must be absolute.
func Start(ctx context.Context, checkout, dir string, log func(string)) (*Rig, error) {
	root, err := filepath.Abs(checkout)
	if err != nil {
		return nil, err
	}
	for _, path := range []string{Dist + "/install.sh", SampleTar} {
		if _, err := os.Stat(filepath.Join(root, path)); err != nil {
			return nil, fmt.Errorf("cannot find what make builds; run make dist sample: %w", err)
		}
	}
	l, err := lab.Open(ctx)
	if err != nil {
		return nil, err
	}
	l.Log = log
	r := &Rig{Lab: l, root: root, dir: dir}
	if r.Release, err = FindRelease(ctx, log); err != nil {
		return nil, err
	}
	if err := r.serve(ctx); err != nil {
		return nil, errors.Join(err, r.Close(ctx))
	}
	return r, nil
}

func (r *Rig) serve(ctx context.Context) error {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the folder of the rig: %w", err)
	}
	if err := r.Lab.EnsureNetwork(ctx); err != nil {
		return err
	}
	if err := r.layMirror(); err != nil {
		return fmt.Errorf("cannot make the mirror: %w", err)
	}
	var err error
	if r.Mirror, err = lab.Serve(ctx, lab.HostAddress+":0", r.mirror()); err != nil {
		return err
	}
	if r.Dist, err = lab.Serve(ctx, lab.HostAddress+":0", filepath.Join(r.root, Dist)); err != nil {
		return err
	}
	r.Gateway, err = StartGateway(ctx, GatewayProgram(r.root), filepath.Join(r.dir, "gateway"))
	return err
}

// Close stops the servers. Machines stay.
func (r *Rig) Close(ctx context.Context) error {
	err := r.CloseServers()
	if r.Gateway != nil {
		err = errors.Join(err, r.Gateway.Stop(ctx))
	}
	return err
}

// CloseServers stops the mirror and the release page, but not the gateway.
func (r *Rig) CloseServers() error {
	var errs []error
	for _, s := range []*lab.Server{r.Mirror, r.Dist} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// TokenFile is where PrepareMachine puts the join token.
const TokenFile = "/root/pipeops.token"

// PrepareMachine gives a machine what a user brings: a join token in a file of root's, and the sample image, which no
// registry of the lab has.
func (r *Rig) PrepareMachine(ctx context.Context, m *lab.Machine) error {
	token, err := r.Gateway.Run(ctx, "token", "create")
	if err != nil {
		return err
	}
	if err := m.PushBytes([]byte(token+"\n"), TokenFile, 0o600); err != nil {
		return err
	}
	return r.PushSample(ctx, m)
}

// PushSample puts the sample image where k3s looks for images before it asks a registry: the lab has none.
func (r *Rig) PushSample(ctx context.Context, m *lab.Machine) error {
	const folder = "/var/lib/rancher/k3s/agent/images"
	if _, err := m.Shell(ctx, "mkdir -p "+folder); err != nil {
		return err
	}
	return m.Push(ctx, filepath.Join(r.root, SampleTar), folder+"/sample-web.tar")
}

// Environment returns the settings by which install on a machine finds the rig, as NAME=value.
func (r *Rig) Environment(cluster string) []string {
	return []string{
		"PIPEOPS_GATEWAY=" + r.Gateway.Address,
		"PIPEOPS_TOKEN_FILE=" + TokenFile,
		"PIPEOPS_CLUSTER=" + cluster,
		"PIPEOPS_MIRROR=" + r.Mirror.URL(),
		"PIPEOPS_K3S_VERSION=" + K3sVersion,
		"PIPEOPS_DISABLE=" + Disable,
	}
}

// Project returns the file of the sample project.
func Project(name, greeting string) string {
	return fmt.Sprintf("name: %s\nimage: %s\nport: 8080\nenv:\n  GREETING: %q\n", name, SampleImage, greeting)
}

// Deploy applies the sample project to a cluster and waits until its page answers, at most so long. It returns the page.
func (r *Rig) Deploy(ctx context.Context, cluster, name, greeting string, patience time.Duration) (string, error) {
	file := filepath.Join(r.dir, name+".yaml")
	if err := os.WriteFile(file, []byte(Project(name, greeting)), 0o600); err != nil {
		return "", fmt.Errorf("cannot write the sample project: %w", err)
	}
	if _, err := r.Gateway.Run(ctx, "project", "apply", "-f", file, "--cluster", cluster); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var page string
	err := lab.WaitFor(ctx, "the page of project "+name, func(ctx context.Context) (ok bool, err error) {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second) // a browser's user tries again too
		defer cancel()
		page, err = r.Gateway.Run(attempt, "project", "open", name, "--cluster", cluster)
		return strings.HasPrefix(page, "hello from "+greeting), err
	})
	return page, err
}
