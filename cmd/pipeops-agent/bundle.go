package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/pipeopshq/pipeops-agent/internal/artifact"
	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/config"
	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/version"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// bundleRoles are the files of k3s that an install takes.
func bundleRoles() []string { return []string{"binary", "images"} }

func newBundle(g *globals) *cobra.Command {
	var out, arch string
	var s settings
	command := &cobra.Command{
		Use:   "bundle",
		Short: "Make one file that install --bundle needs no internet with",
		Long: `Download what an install takes and put it into one file: this program, the signed list of what may be installed, k3s and
its images. The file is a plain tar archive. On the machine:

  sha256sum FILE    # must be what this command tells at its end
  tar -xf FILE pipeops-agent && sudo install pipeops-agent /usr/local/bin/
  sudo pipeops-agent install --bundle FILE --gateway HOST:PORT --token-file token

pipeops-agent checks everything in it against the signed list. Nothing checks pipeops-agent itself: compare the digest, or
take it from a package. Stopped anywhere, the same command goes on where it was: what has come is in FILE.downloads until
the bundle is whole.`,
		Args: cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := s.resolve(g, command)
			if err != nil {
				return err
			}
			if out == "" {
				return reason.Newf(reason.Usage, "no --out FILE was given").WithFix("name the file that is to be made")
			}
			if st, err := os.Stat(out); err == nil && !st.Mode().IsRegular() {
				return reason.Newf(reason.Usage, "--out %s is no regular file", out).WithFix("name the file that is to be made, such as bundle.tar")
			}
			if arch != "amd64" && arch != "arm64" {
				return reason.Newf(reason.Usage, "--arch %q is neither amd64 nor arm64", arch)
			}
			b := bundler{version: c.K3sVersion, arch: arch, output: out, log: g.quiet(command)}
			if b.version == "" {
				b.version = distro.K3sVersion
			}
			view := g.view(command.OutOrStdout())
			defer view.Close()
			b.show = view.Show
			return interrupted(command.Context(), b.run(command.Context(), g, withCallersProxy(c, host.ProxyOfCaller())))
		},
	}
	flags := command.Flags()
	flags.StringVar(&out, "out", "", "the file that is made")
	flags.StringVar(&arch, "arch", runtime.GOARCH, "of the machine that it is for: amd64 or arm64")
	flags.StringVar(&s.K3sVersion, "k3s-version", "", "version of k3s (default "+distro.K3sVersion+")")
	flags.StringVar(&s.Mirror, "mirror", "", "as of install")
	flags.StringVar(&s.Trust, "trust", "", "as of install")
	return command
}

// view shows events as the output wants them.
func (g *globals) view(out io.Writer) console.Progress {
	file, isFile := out.(*os.File)
	switch {
	case g.JSON():
		return console.JSON(out)
	case isFile && term.IsTerminal(int(file.Fd())) && !g.debug:
		return console.Terminal(out, int(file.Fd()))
	}
	return console.Plain(out)
}

// bundler makes a bundle.
type bundler struct {
	version, arch, output string

	show func(wire.Event)
	log  *slog.Logger
}

// bundleDone is what the last event tells to programs.
type bundleDone struct {
	File     string          `json:"file"`
	Bytes    int64           `json:"bytes"`
	SHA256   string          `json:"sha256"`
	Arch     string          `json:"arch"`
	Contents []manifest.File `json:"contents"`
}

func (b bundler) run(ctx context.Context, g *globals, c config.Config) error {
	manifests, err := g.manifests(c)
	if err != nil {
		return err
	}
	proxy, err := proxies(c)
	if err != nil {
		return err
	}
	// beside the output: whoever makes it need not be root, and the space is where it is needed
	work := b.output + ".downloads"
	manifests.Dir = filepath.Join(work, "manifest")
	if err := artifact.OwnDir(work); err != nil {
		return err
	}
	fetcher := &artifact.Fetcher{Client: artifact.NewClient(proxy.Proxy), Log: b.log}

	var made artifact.Bundled
	own := b.arch == runtime.GOARCH && runtime.GOOS == "linux"
	err = b.step("bundle-download", "Download k3s "+b.version+" for "+b.arch, func(progress func(done, total int64)) (err error) {
		made, err = artifact.Gather(ctx, fetcher, manifests, work, func(m manifest.Manifest) ([]manifest.File, error) { return b.pick(m, !own) }, progress)
		return err
	})
	if err != nil {
		return err
	}
	if own {
		made.Agent, err = os.Executable()
	} else {
		last := len(made.Files) - 1
		made.Agent, made.Files = filepath.Join(work, made.Files[last].SHA256), made.Files[:last]
	}
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	done := bundleDone{File: b.output, Arch: b.arch, Contents: made.Files}
	err = b.step("bundle-write", "Write "+b.output, func(progress func(done, total int64)) (err error) {
		done.Bytes, done.SHA256, err = made.Write(ctx, fetcher, b.output, progress)
		return err
	})
	if err != nil {
		return err
	}
	// by name: whatever else is there is somebody's
	if err := errors.Join(artifact.Prune(work), manifests.Forget(), artifact.RemoveEmpty(work)); err != nil {
		return fmt.Errorf("cannot remove what is not needed any more: %w", err)
	}
	detail, err := json.Marshal(done)
	if err != nil {
		return fmt.Errorf("cannot tell what was made: %w", err)
	}
	b.show(wire.Event{Time: time.Now().UTC(), Kind: "done", Detail: detail, Message: fmt.Sprintf("%s has %s, SHA-256 %s\nNext, on the machine: "+
		"tar -xf %[4]s pipeops-agent && sudo install pipeops-agent /usr/local/bin/ && sudo pipeops-agent install --bundle %[4]s --gateway HOST:PORT --token-file token",
		b.output, host.Bytes(uint64(done.Bytes)), done.SHA256, filepath.Base(b.output))})
	return nil
}

// pick chooses the files of k3s, and the agent as the last one where this program is none for the machine.
func (b bundler) pick(m manifest.Manifest, agent bool) ([]manifest.File, error) {
	var files []manifest.File
	for _, role := range bundleRoles() {
		f, ok := m.Find(distro.K3s, b.version, b.arch, role)
		if !ok {
			return nil, artifact.Lacks(m, distro.K3s, b.version, b.arch, role)
		}
		files = append(files, f)
	}
	if !agent {
		return files, nil
	}
	f, ok := m.Find("pipeops-agent", version.String(), b.arch, "binary")
	if !ok {
		return nil, artifact.Lacks(m, "pipeops-agent", version.String(), b.arch, "binary")
	}
	return append(files, f), nil
}

// step tells of something that takes a while.
func (b bundler) step(id, title string, do func(progress func(done, total int64)) error) error {
	began := time.Now()
	tell := func(state string) wire.Event {
		return wire.Event{Time: time.Now().UTC(), Kind: "step", Step: id, Title: title, State: state}
	}
	b.show(tell("started"))
	err := do(progressOf(tell, b.show))
	last := tell("done")
	if err != nil {
		last.State, last.Message = "failed", err.Error()
	}
	last.DurationMS = time.Since(began).Milliseconds()
	b.show(last)
	return err
}
