package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap"
	"github.com/pipeopshq/pipeops-agent/internal/config"
	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/doctor"
	"github.com/pipeopshq/pipeops-agent/internal/golden"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
)

const machines = "../../internal/host/testdata/machines"

// optionsFor are the options of an install on a captured machine, as on amd64 wherever the test runs.
func optionsFor(t *testing.T, name string, c config.Config) bootstrap.Options {
	t.Helper()
	s := settings{adopt: true}
	o, err := s.options(&globals{state: config.StateDir, config: config.Path, socket: config.Socket}, c)
	if err != nil {
		t.Fatal(err)
	}
	o.Install.Arch = "amd64"
	if o.Host, err = host.Load(filepath.Join(machines, name)); err != nil {
		t.Fatal(err)
	}
	return o
}

// planOf is the plan of a captured machine.
func planOf(t *testing.T, name string) bootstrap.Plan {
	t.Helper()
	o := optionsFor(t, name, config.Config{})
	plan, err := bootstrap.MakePlan(t.Context(), o, trial.Of(o.Host))
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// TestDryRunViews compares what install --dry-run shows of each distribution that is installed with golden files: all of its steps.
func TestDryRunViews(t *testing.T) {
	for name, machine := range map[string]string{distro.K3s: "debian12-vm", distro.K3d: "three-clusters-in-docker", distro.Kind: "port-10250-taken-docker-up", distro.Minikube: "alpine-docker-openrc"} {
		t.Run(name, func(t *testing.T) {
			o := optionsFor(t, machine, config.Config{Distro: name})
			o.StateDir = filepath.Join(t.TempDir(), "none")
			plan, err := bootstrap.DryRun(t.Context(), o, trial.Of(o.Host))
			if err != nil {
				t.Fatal(err)
			}
			p := &console.Page{Width: 80}
			showPlan(p, plan)
			golden.Check(t, filepath.Join("testdata/views", name+".dry-run.txt"), p.String())
		})
	}
}

// TestViews compares what people see of some captured machines on 80 columns with golden files.
func TestViews(t *testing.T) {
	for _, name := range []string{"debian12-vm", "vps-1gb", "lxc-privileged", "two-clusters", "k3s-ours-running", "nothing-known"} {
		t.Run(name, func(t *testing.T) {
			plan := planOf(t, name)
			p := &console.Page{Width: 80}
			showPlan(p, plan)
			golden.Check(t, filepath.Join("testdata/views", name+".plan.txt"), p.String())
			patient := doctor.Patient{Facts: plan.Facts, Request: distro.Request{Adopt: true}, Now: time.Unix(1_800_000_000, 0)}
			p = &console.Page{Width: 80}
			showReport(p, plan.Facts, doctor.Examine(patient))
			golden.Check(t, filepath.Join("testdata/views", name+".doctor.txt"), p.String())
			p = &console.Page{Width: 80}
			plan.Facts.Show(p)
			golden.Check(t, filepath.Join("testdata/views", name+".probe.txt"), p.String())
		})
	}
}

// TestPlansAreShort: the plan of every captured machine is read without scrolling much.
func TestPlansAreShort(t *testing.T) {
	entries, err := os.ReadDir(machines)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		p := &console.Page{Width: 80}
		showPlan(p, planOf(t, e.Name()))
		text, _, _ := strings.Cut(p.String(), "\nOutside ") // what is pasted elsewhere is as long as it is
		if lines := strings.Count(text, "\n"); lines > 48 {
			t.Errorf("the plan of %s has %d lines:\n%s", e.Name(), lines, p)
		}
	}
}

// TestPlanWithEverything: a plan with far more of each kind than any machine has so far stays readable, and with -v is whole.
func TestPlanWithEverything(t *testing.T) {
	plan := planOf(t, "debian12-vm")
	d := &plan.Decision
	for i, k := range d.Candidates {
		for range 20 {
			d.Candidates[i].Warnings = append(k.Warnings, d.Candidates[i].Warnings...)
			d.Candidates[i].Warnings = append(d.Candidates[i].Warnings, distro.Reason{Code: reason.HostCPU, Title: "too few CPUs", Evidence: "1 CPU", Fix: "more", Where: reason.OuterHost})
			d.Candidates[i].Unknown = append(d.Candidates[i].Unknown, "vxlan")
		}
	}
	for range 20 {
		d.Remedies = append(d.Remedies, distro.Remedy{ID: "sysctl", Title: "kernel settings are raised", Evidence: "128 inotify instances", Cost: reason.CostSysctl, Risk: "none that we know"})
	}
	d.Remedies = append(d.Remedies, distro.Remedy{ID: "kernel-cmdline", Title: "the memory controller is switched on", Cost: reason.CostReboot})
	d.Consent = []distro.Remedy{{Title: "iptables is installed", Cost: reason.CostPackage}, {Title: "cgroup v2", Cost: reason.CostReboot}}
	d.Outer = []distro.Patch{
		{Host: "Proxmox VE", Lines: []distro.PatchLine{
			{Text: "pct set 101 --features nesting=1", Risk: "the container may mount"},
			{Text: "pct set 101 --features nesting=1,keyctl=1 --and more words so that it does not fit", Risk: "the container may use the keyring of the host, and other things"},
			{Text: "lxc.cap.drop:", File: "/etc/pve/lxc/101.conf", Risk: "root in the container keeps all capabilities"},
		}},
	}
	plan.Steps = append(plan.Steps, bootstrap.PlannedStep{ID: "package", Title: "Install packages", Changes: []string{"package iptables", "net.ipv4.ip_forward = 1"}, Bytes: 75 << 20})
	p := &console.Page{Width: 80}
	showPlan(p, plan)
	golden.Check(t, filepath.Join("testdata/views", "everything.plan.txt"), p.String())
	if n := strings.Count(p.String(), "\n"); n > 80 {
		t.Errorf("%d lines", n)
	}
	all := &console.Page{Width: 80, All: true}
	showPlan(all, plan)
	for _, want := range []string{"k3s-unit", "Reboot one, since: the memory controller is switched on", "net.ipv4.ip_forward = 1"} {
		if !strings.Contains(strings.Join(strings.Fields(all.String()), " "), want) {
			t.Errorf("%q is missing in\n%s", want, all)
		}
	}
	if strings.Contains(all.String(), "-v shows them") {
		t.Error("-v leaves something out")
	}
}

func TestSizeOfTheDownload(t *testing.T) {
	for want, steps := range map[string][]bootstrap.PlannedStep{
		"Download     about 75 MiB\n":             {{Bytes: 75 << 20, About: true}},
		"Download     75 MiB (78643207 bytes)\n":  {{Bytes: 75<<20 + 7}},
		"Download     about 150 MiB from there\n": {{Bytes: 75 << 20, About: true, Changes: []string{"downloads from there"}}, {Bytes: 75 << 20}},
		"Download     nothing\n":                  {{}},
		"Download     2 B (2 bytes) from a, b\n":  {{Bytes: 1, Changes: []string{"downloads from a"}}, {Bytes: 1, Changes: []string{"downloads from b"}}},
	} {
		p := &console.Page{Width: 200}
		showCosts(p, bootstrap.Plan{Steps: steps})
		if got := p.String(); !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
