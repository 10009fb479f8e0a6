package bootstrap

import (
	"slices"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func TestRefusalAsksForConsent(t *testing.T) {
	d := distro.Decision{Consent: []distro.Remedy{
		{ID: distro.RemedyPackage, Title: "iptables is installed", Cost: reason.CostPackage},
		{ID: distro.RemedyKernelCmdline, Title: "the memory controller is switched on", Cost: reason.CostReboot, Risk: "pods are slower"},
		{ID: distro.RemedyPackage, Title: "conntrack is installed", Cost: reason.CostPackage},
	}}
	err := Refusal(d)
	if !reason.Is(err, reason.ConsentNeeded) || reason.Exit(err) != 13 {
		t.Fatalf("err = %v", err)
	}
	var e *reason.Error
	if e = err.(*reason.Error); e.Fix != "run again with --consent package,reboot" || e.Cost != reason.CostReboot {
		t.Errorf("fix %q, cost %q", e.Fix, e.Cost)
	}
	want := "this machine needs: iptables is installed (package); the memory controller is switched on (reboot), risk: pods are slower; conntrack is installed (package)"
	if e.Evidence != want {
		t.Error(e.Evidence)
	}
	if got := agreed([]reason.Cost{reason.CostReboot}, d.Consent); !slices.Equal(got, []reason.Cost{reason.CostReboot, reason.CostPackage}) {
		t.Errorf("agreed to %v", got)
	}
	d.Chosen = distro.K3s // what the others would need is nobody's concern
	if err := Refusal(d); err != nil {
		t.Error(err)
	}
}

func TestWhatCannotBeInstalledIsRefused(t *testing.T) {
	for _, name := range distro.Names() {
		dist, _ := distro.Get(name)
		err := available(distro.Decision{Chosen: name})
		if can := dist.Steps != nil || name == distro.Existing; can != (err == nil) || !can && !reason.Is(err, reason.DistroNotAvailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if available(distro.Decision{Chosen: "k9s"}) == nil {
		t.Error("k9s can be installed")
	}
}
