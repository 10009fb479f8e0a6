package distro

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func TestWrongDigestLeavesTheMachineAlone(t *testing.T) {
	b := newBench(t)
	before := b.tree()
	const path = "/k3s-io/k3s/releases/download/v1.33.2+k3s1/k3s"
	good := b.mirror[path]
	b.mirror[path] = []byte("a k3s binary!!")
	_, err := b.run(nil)
	if !reason.Is(err, reason.DownloadDigest) || reason.Exit(err) != reason.ExitDownload {
		t.Errorf("err = %v", err)
	}
	if got := b.tree(); got != before {
		t.Error(cmp.Diff(before, got))
	}
	b.mirror[path] = good
	if _, err := b.run(nil); err != nil {
		t.Error(err)
	}
}

func TestVersionThatIsNotListed(t *testing.T) {
	b := newBench(t)
	b.release("v1.34.1+k3s1", "a newer binary")
	before := b.tree()
	b.in.Version = "v1.33.9+k3s1"
	_, err := b.run(nil)
	if !reason.Is(err, reason.ManifestLacks) || !strings.Contains(err.Error(), "it has v1.34.1+k3s1, v1.33.2+k3s1") {
		t.Errorf("err = %v", err)
	}
	if got := b.tree(); got != before {
		t.Error(cmp.Diff(before, got))
	}
}

func TestNobodyIsTrusted(t *testing.T) {
	b := newBench(t)
	b.in.Manifests.Trust = manifest.Trust{}
	if _, err := k3sSteps(b.in); !reason.Is(err, reason.TrustNone) {
		t.Errorf("err = %v", err)
	}
	b.in.Units = nil // only shown
	if _, err := k3sSteps(b.in); err != nil {
		t.Errorf("err = %v", err)
	}
}

func TestPlannedDownload(t *testing.T) {
	b := newBench(t)
	shown := func() plan.Step {
		t.Helper()
		var all [2]plan.Step
		for i := range all {
			in := b.in
			if in.Shown = i > 0; !in.Shown { // a dry run asks the steps, too
				in.Units = nil
			}
			steps, err := k3sSteps(in)
			if err != nil {
				t.Fatal(err)
			}
			all[i] = steps[slices.IndexFunc(steps, func(s plan.Step) bool { return s.ID == "k3s-download" })]
		}
		if p, d := all[0], all[1]; p.Bytes != d.Bytes || p.About != d.About || !slices.Equal(p.Changes, d.Changes) {
			t.Errorf("a plan says %+v, a dry run %+v", p, d)
		}
		return all[0]
	}
	if s := shown(); !s.About || s.Bytes != downloadAbout || len(s.Changes) != 1 {
		t.Errorf("without a manifest: %+v", s)
	}
	if _, err := b.run(nil); err != nil {
		t.Fatal(err)
	}
	if s := shown(); s.About || s.Bytes != 0 || s.Changes != nil {
		t.Errorf("with all in place: %+v", s)
	}
	b.write(k3sBinary, "another")
	if s := shown(); s.About || s.Bytes != int64(len("the k3s binary")) || !strings.HasSuffix(s.Changes[0], "/k3s-io/k3s/releases/download/v1.33.2%2Bk3s1/") {
		t.Errorf("without the binary: %+v", s)
	}
	b.in.Version = "v1.34.1+k3s1"
	if s := shown(); !s.About || s.Bytes != downloadAbout {
		t.Errorf("of another version: %+v", s)
	}
}

func TestMirrorOfAnotherRelease(t *testing.T) {
	b := newBench(t)
	b.release("v1.34.1+k3s1", "a newer binary, and a longer one")
	before := b.tree()
	const at = "/k3s-io/k3s/releases/download/"
	b.mirror[at+"v1.33.2+k3s1/k3s"] = b.mirror[at+"v1.34.1+k3s1/k3s"]
	if _, err := b.run(nil); !reason.Is(err, reason.DownloadDigest) {
		t.Errorf("err = %v", err)
	}
	if got := b.tree(); got != before {
		t.Error(cmp.Diff(before, got))
	}
}
