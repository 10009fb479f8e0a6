package bootstrap

import (
	"context"
	"slices"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
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
		err := available(host.Facts{Docker: host.Docker{Reachable: host.Is(true)}}, distro.Decision{Chosen: name})
		if can := dist.Steps != nil || name == distro.Existing; can != (err == nil) || !can && !reason.Is(err, reason.DistroNotAvailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]struct {
		facts  host.Facts
		chosen string
		can    bool
	}{
		"unknown":               {host.Facts{}, "k9s", false},
		"macOS":                 {host.Facts{OS: host.OS{Kind: "darwin"}, Docker: host.Docker{Reachable: host.Is(true)}}, distro.K3d, false},
		"macOS, existing":       {host.Facts{OS: host.OS{Kind: "darwin"}}, distro.Existing, true},
		"Podman":                {host.Facts{Docker: host.Docker{Reachable: host.Is(false)}, Commands: map[string]string{"podman": "/usr/bin/podman"}}, distro.Kind, false},
		"Podman beside Docker":  {host.Facts{Docker: host.Docker{Reachable: host.Is(true)}, Commands: map[string]string{"podman": "/usr/bin/podman"}}, distro.Kind, true},
		"Docker, once it is up": {host.Facts{Docker: host.Docker{Reachable: host.Is(false)}}, distro.K3d, true},
	} {
		if err := available(c.facts, distro.Decision{Chosen: c.chosen}); c.can != (err == nil) || !c.can && !reason.Is(err, reason.DistroNotAvailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDecideAsksOnce: who agrees to what a machine needs gets a decision that counts on it, and it stays in the options.
func TestDecideAsksOnce(t *testing.T) {
	system, err := host.Load("../host/testdata/machines/pi4-no-memory-cgroup")
	if err != nil {
		t.Fatal(err)
	}
	facts, trials := host.Collect(t.Context(), system), trial.Of(system)
	for _, yes := range []bool{true, false} {
		asked := 0
		o := &Options{Agree: func(_ context.Context, needed []distro.Remedy) (bool, error) {
			asked++
			if len(needed) != 1 || needed[0].ID != distro.RemedyKernelCmdline {
				t.Errorf("asked for %+v", needed)
			}
			return yes, nil
		}}
		d, err := o.decide(t.Context(), facts, trials)
		if err != nil || asked != 1 {
			t.Errorf("asked %d times, %v", asked, err)
		}
		if got := d.Chosen == distro.K3s && slices.Contains(o.Request.Consent, reason.CostReboot); got != yes {
			t.Errorf("the answer is %v; chosen %q, consent %v", yes, d.Chosen, o.Request.Consent)
		}
		if !yes && reason.Exit(Refusal(d)) != reason.ExitWaiver {
			t.Errorf("refused: %v", Refusal(d))
		}
	}
	o := &Options{} // nobody to ask
	if d, err := o.decide(t.Context(), facts, trials); err != nil || !reason.Is(Refusal(d), reason.ConsentNeeded) {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestUnseenMachineIsNotChanged: a cluster that nobody could look for may be there.
func TestUnseenMachineIsNotChanged(t *testing.T) {
	f := host.Facts{Clusters: []host.Cluster{}, Listening: []host.Listener{}}
	if err := seenEnough(f); err != nil {
		t.Error(err)
	}
	f.Clusters, f.Errors = nil, map[string]string{"clusters": "cannot finish in time"}
	if err := seenEnough(f); !reason.Is(err, reason.HostUnseen) || reason.Exit(err) != reason.ExitBusy {
		t.Errorf("err = %v", err)
	}
	f.Clusters, f.Listening = []host.Cluster{}, nil
	if err := seenEnough(f); !reason.Is(err, reason.HostUnseen) {
		t.Errorf("err = %v", err)
	}
}
