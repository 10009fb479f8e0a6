package host

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestCollectIsPartial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		probes := []Probe{
			{Name: "hangs", Run: func(context.Context, *System) (Part, error) {
				<-release // deaf to its context, as a system call on a dead file system is
				return func(f *Facts) { f.OS.ID = "late" }, nil
			}},
			{Name: "panics", Run: func(context.Context, *System) (Part, error) { panic("bad file") }},
			{Name: "half", Run: func(context.Context, *System) (Part, error) {
				return func(f *Facts) { f.Arch.Name = "amd64" }, errors.New("cannot read the rest")
			}},
			{Name: "slow", Run: func(context.Context, *System) (Part, error) { // a busy Raspberry Pi, an emulated machine
				time.Sleep(2 * time.Second)
				return func(f *Facts) { f.Identity.Hostname = "slow" }, nil
			}},
			{Name: "whole", Run: func(context.Context, *System) (Part, error) {
				return func(f *Facts) { f.Kernel.Release = "6.1" }, nil
			}},
		}
		start := time.Now()
		f := collect(t.Context(), Live(), probes)
		if took := time.Since(start); took != ProbeTimeout {
			t.Errorf("took %v, want %v", took, ProbeTimeout)
		}
		close(release)
		synctest.Wait()
		if f.OS.ID != "" || f.Arch.Name != "amd64" || f.Kernel.Release != "6.1" || f.Identity.Hostname != "slow" {
			t.Errorf("facts: %+v", f)
		}
		for name, want := range map[string]string{"hangs": "in time", "panics": "bad file", "half": "the rest", "whole": ""} {
			if got := f.Errors[name]; !strings.Contains(got, want) || (want == "") != (got == "") {
				t.Errorf("error of %s: %q, want %q", name, got, want)
			}
		}
	})
}

// whole repeats a collection until no probe has failed: on a busy machine some may not be in time.
func whole(t *testing.T, collect func() Facts) Facts {
	t.Helper()
	for start := time.Now(); ; {
		f := collect()
		if len(f.Errors) == 0 {
			return f
		}
		if time.Since(start) > 20*time.Second {
			t.Fatalf("errors: %v", f.Errors)
		}
	}
}

// TestLive collects the facts of the machine that runs the test.
func TestLive(t *testing.T) {
	f := whole(t, func() Facts { return Collect(t.Context(), Live()) })
	if f.OS.ID == "" || f.Kernel.Major == 0 || !f.Memory.Usable().OK || !f.CPU.Usable().OK || len(f.Disk) < 3 || f.Listening == nil || f.Clusters == nil || !f.UID.OK {
		t.Errorf("facts are missing:\n%s", f.Text())
	}
}

func TestProbesAreNamed(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range All() {
		if p.Name == "" || seen[p.Name] || p.Run == nil {
			t.Errorf("probe %q has no name of its own or no Run", p.Name)
		}
		seen[p.Name] = true
	}
}
