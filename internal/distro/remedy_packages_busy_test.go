package distro

import (
	"context"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// TestPackagesAreInstalledWhenTheManagerIsFree: it is asked right before it is used; who stays busy keeps his name, and nothing
// was run.
func TestPackagesAreInstalledWhenTheManagerIsFree(t *testing.T) {
	b := newBench(t)
	p := &programs{b: b}
	b.in.Run = p.run
	b.in.Remedies = []Remedy{{ID: RemedyPackage, Values: []string{"iptables"}}}
	b.write("/usr/bin/apt-get", "")
	b.write("/proc/sys/kernel/random/boot_id", "one\n")
	asked := 0
	b.in.FreePackages = func(context.Context) error {
		asked++
		if len(p.calls) > 0 {
			t.Errorf("asked after %q", p.calls)
		}
		return reason.Newf(reason.HostPackagesBusy, "apt-get (process 812) holds the lock of apt")
	}
	_, err := b.run(nil)
	if !reason.Is(err, reason.HostPackagesBusy) || reason.Exit(err) != reason.ExitBusy || asked != 1 || len(p.calls) > 0 {
		t.Errorf("%v, asked %d times, calls %q", err, asked, p.calls)
	}
	b.in.FreePackages = func(context.Context) error { return nil }
	if _, err := b.run(nil); err != nil || len(p.calls) == 0 {
		t.Errorf("%v, calls %q", err, p.calls)
	}
}
