//go:build e2e

package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// TestJudgement compares what the agent says of the machines of the lab with what they are, seen by other means: with the
// rights of a machine k3s fits, with the remedies that it needs there; with those of a container alone nothing fits, and
// the lines for the host of the container are there.
func TestJudgement(t *testing.T) {
	w := newWorld(t)
	t.Run("machine", func(t *testing.T) {
		m := w.machine(t, lab.Options{})
		w.withAgent(t, m)
		facts, decision := judged(t, m)
		if facts.OS.Family != "debian" || facts.Init.Systemd != host.Is(true) {
			t.Errorf("os %+v, init %+v", facts.OS, facts.Init)
		}
		if name, inside := facts.Virtualization.Container(); !inside || name != strings.TrimSpace(shell(t, m, "systemd-detect-virt --container")) {
			t.Errorf("container %q", name)
		}
		if v2 := strings.TrimSpace(shell(t, m, "stat -fc %T /sys/fs/cgroup")) == "cgroup2fs"; v2 != (facts.Cgroup.Version == "v2") {
			t.Errorf("cgroup %q", facts.Cgroup.Version)
		}
		// bit 24 is CAP_SYS_RESOURCE, without which no oom_score_adj can be lowered
		capable := strings.TrimSpace(shell(t, m, `echo $(( 0x$(sed -n 's/^CapEff:\t//p' /proc/self/status) >> 24 & 1 ))`)) == "1"
		if decision.Chosen != distro.K3s || decision.NeedsRemedy(distro.RemedyOOMScore) == capable {
			t.Errorf("chosen %q with the remedies %+v; CAP_SYS_RESOURCE: %v", decision.Chosen, decision.Remedies, capable)
		}
	})
	t.Run("container", func(t *testing.T) {
		m := w.machine(t, lab.Options{Container: true})
		w.withAgent(t, m)
		token(t, w.Gateway, m)
		_, decision := judged(t, m)
		k3s, _ := decision.Candidate(distro.K3s)
		if decision.Chosen != "" || len(k3s.Reasons) == 0 || k3s.Reasons[0].Code != reason.HostContainerNesting || k3s.Reasons[0].Where != reason.OuterHost {
			t.Errorf("chosen %q, k3s: %+v", decision.Chosen, k3s)
		}
		if len(decision.Outer) != 1 || !strings.Contains(decision.Outer[0].Host, "systemd-nspawn") {
			t.Fatalf("outer host: %+v", decision.Outer)
		}
		for _, line := range decision.Outer[0].Lines {
			if line.Text == "" || line.Risk == "" {
				t.Errorf("%+v", line)
			}
		}
		before := shell(t, m, fingerprint)
		result, err := m.Exec(t.Context(), nil, "pipeops-agent", "install", "--gateway", w.Gateway.Address, "--token-file", rig.TokenFile, "--cluster", "nested")
		if err != nil {
			t.Fatal(err)
		}
		if result.Code != reason.ExitOuterHost || !strings.Contains(result.Stderr, string(reason.HostContainerNesting)) {
			t.Errorf("install: exit code %d\n%s", result.Code, result.Stderr)
		}
		if after := shell(t, m, fingerprint); after != before {
			t.Errorf("a refused install leaves something:\n%s", difference(before, after))
		}
	})
}

// judged asks the agent in a machine for facts and decision, both with trials.
func judged(t *testing.T, m *lab.Machine) (host.Facts, distro.Decision) {
	t.Helper()
	var report host.Report
	var plan struct{ Decision distro.Decision }
	for command, into := range map[string]any{"probe": &report, "plan": &plan} {
		result, err := m.Exec(t.Context(), nil, "pipeops-agent", command, "--trials", "-o", "json")
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(result.Stdout), into); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, result.Told())
		}
	}
	return report.Facts, plan.Decision
}
