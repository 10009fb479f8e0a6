package distro

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strconv"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// Files of k3s's containerd, below its data directory.
const (
	containerdEtc      = "/agent/etc/containerd"
	containerdDropIn   = containerdEtc + "/config-v3.toml.d/50-pipeops-agent.toml"
	containerdTemplate = containerdEtc + "/config-v3.toml.tmpl"
)

// textFile is a file of ours on the machine.
type textFile struct{ target, content string }

// containerdFiles returns what makes the containerd of this version of k3s leave the oom_score_adj of containers alone.
//
// A table of the generated configuration cannot be amended by the template that k3s lets one write: TOML has each table
// once. So the setting comes in a file that is imported, which containerd 2 merges key by key. k3s imports that folder by
// itself since its pull request 13680 (merged on 25 February 2026); for the releases before, a template adds the import,
// and the later ones must not have it, for they would then import twice.
func (k *k3sInstall) containerdFiles() ([]textFile, error) {
	files := []textFile{{k.dataDir + containerdDropIn, ownMarker + `: on this machine nobody may lower an oom_score_adj, which each pod otherwise asks for.
version = 3

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
`}}
	m := regexp.MustCompile(`^v1\.(\d+)\.(\d+)`).FindStringSubmatch(k.Version)
	if m == nil {
		return nil, reason.Newf(reason.Usage, "%q is no version of k3s", k.Version)
	}
	minor, _ := strconv.Atoi(m[1]) // digits both, and few: Release.Check has seen to it
	patch, _ := strconv.Atoi(m[2])
	// containerd 2.0 came with v1.31.6 and v1.32.2; containerd 1 replaces whole tables by what it imports
	if minor < 31 || minor == 31 && patch < 6 || minor == 32 && patch < 2 {
		return nil, reason.Newf(reason.HostOOMScore, "k3s %s has containerd 1, which cannot be told so", k.Version).
			WithFix("choose k3s v1.31.6, v1.32.2 or newer")
	}
	last := map[int]int{33: 8, 34: 4, 35: 1} // of each minor version, the last release before the pull request
	before, known := last[minor]
	if minor < 33 || known && patch <= before {
		files = append(files, textFile{k.dataDir + containerdTemplate, "{{- /* " + ownMarker[2:] + " */ -}}\n" +
			`imports = ["` + k.dataDir + containerdEtc + `/config-v3.toml.d/*.toml"]` + "\n" + `{{ template "base" . }}` + "\n"})
	}
	return files, nil
}

// containerd writes the settings of k3s's containerd.
func (k *k3sInstall) containerd(files []textFile) plan.Step {
	step := plan.Step{
		ID: "k3s-containerd", Title: "Tell containerd not to lower oom_score_adj",
		Done: func(context.Context) (bool, error) {
			for _, f := range files {
				if same, err := sameFile(k.path(f.target), 0o644, []byte(f.content)); err != nil || !same {
					return false, err
				}
			}
			return true, nil
		},
		Do: func(_ context.Context, r *plan.Recorder) error {
			for _, f := range files {
				if err := k.ours(f.target); err != nil {
					return err
				}
				if err := r.WriteFile(f.target, 0o644, []byte(f.content)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	for _, f := range files {
		step.Changes = append(step.Changes, f.target)
	}
	return step
}

// ours refuses to replace a file that somebody else wrote.
func (k *k3sInstall) ours(target string) error {
	text, err := os.ReadFile(k.path(target))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", target, err)
	}
	first, _, _ := bytes.Cut(text, []byte("\n"))
	if !bytes.Contains(first, []byte(ownMarker[2:])) {
		return reason.Newf(reason.ClusterDebris, "%s was written by somebody else", target).
			WithFix("move " + target + " away, or add restrict_oom_score_adj = true to it and run with --distro existing once k3s runs")
	}
	return nil
}
