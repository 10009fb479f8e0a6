package doctor

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/localapi"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const machines = "../host/testdata/machines"

func captured(t *testing.T, name string) Patient {
	t.Helper()
	s, err := host.Load(filepath.Join(machines, name))
	if err != nil {
		t.Fatal(err)
	}
	return Patient{Facts: host.Collect(t.Context(), s), Trials: trial.Of(s), Request: distro.Request{Adopt: true}, Now: time.Unix(1_800_000_000, 0)}
}

// agent is one that is well, apart from the conditions that are given.
func agent(worse ...wire.Condition) *localapi.Status {
	s := &localapi.Status{Distro: "k3s"}
	for _, c := range health.All() {
		s.Conditions = append(s.Conditions, wire.Condition{Type: c.Type, Status: health.True, Reason: "Fine"})
	}
	for i := range s.Conditions {
		for _, w := range worse {
			if s.Conditions[i].Type == w.Type {
				s.Conditions[i] = w
			}
		}
	}
	return s
}

// stopped makes our k3s one that does not run.
func stopped(p *Patient) {
	for i := range p.Facts.Clusters {
		p.Facts.Clusters[i].State = host.Stopped
	}
}

// joinedWorker makes our k3s one that has joined a cluster, with an agent that tells what it looks at there.
func joinedWorker(p *Patient) {
	for i := range p.Facts.Clusters {
		c := &p.Facts.Clusters[i]
		c.Role, c.Unit, c.Settings = "agent", "k3s-agent.service", map[string]string{"server": "https://10.0.0.1:6443"}
	}
	p.Agent = agent()
	p.Agent.Role, p.Agent.Node, p.Agent.Servers = "worker", "w1", []string{"10.0.0.1:6443"}
	p.Agent.Conditions = p.Agent.Conditions[:4]
}

func TestExamine(t *testing.T) {
	silent := reason.Newf(reason.AgentNotRunning, "nobody answers")
	tests := []struct {
		name    string
		machine string
		change  func(*Patient)
		verdict string
		exit    int
		codes   string // of the findings that matter, with their severities
	}{
		{"fits", "debian12-vm", nil, NotInstalled, 0, ""},
		{"nobody expects an agent where none was installed", "debian12-vm", func(p *Patient) { p.Silence = silent }, NotInstalled, 0, ""},
		{"refused", "openvz", nil, NotInstalled, 10, "broken HOST_OPENVZ"},
		{"refused, the outer host can help", "lxc-privileged", nil, NotInstalled, 12, "broken HOST_CONTAINER_NESTING"},
		{"who asks is not what is judged", "debian12-vm", func(p *Patient) { p.Facts.UID = host.Is(1000) }, NotInstalled, 0, "note HOST_NOT_ROOT"},
		{"a cluster to adopt", "k3s-foreign-running", nil, NotInstalled, 0, ""},
		{"well", "k3s-ours-running", func(p *Patient) { p.Agent = agent() }, Healthy, 0, "attention HOST_DISK_LOW"},
		{"silent", "k3s-ours-running", func(p *Patient) { p.Silence = silent }, Unwell, 40, "broken AGENT_NOT_RUNNING"},
		{"for root only", "k3s-ours-running", func(p *Patient) { p.Silence = reason.Newf(reason.HostNotRoot, "denied") }, Healthy, 0, "note HOST_NOT_ROOT"},
		{"the tunnel is down", "k3s-ours-running", func(p *Patient) {
			p.Agent = agent(wire.Condition{Type: health.Tunnel, Status: health.False, Reason: "IDENTITY_REVOKED", Message: "shop was revoked"})
		}, Unwell, 40, "broken IDENTITY_REVOKED"},
		{"the tunnel is not reported", "k3s-ours-running", func(p *Patient) {
			p.Agent = agent()
			p.Agent.Conditions = p.Agent.Conditions[1:]
		}, Unwell, 40, "broken GATEWAY_UNREACHABLE"},
		{"a node is not ready", "k3s-ours-running", func(p *Patient) {
			p.Agent = agent(wire.Condition{Type: health.NodesReady, Status: health.False, Reason: "NotReady", Message: "0 of 1 nodes are ready"})
		}, Degraded, 40, "attention LAYER_NODE"},
		{"large packets vanish", "k3s-ours-running", func(p *Patient) {
			p.Agent = agent(wire.Condition{Type: health.LargePacket, Status: health.False, Reason: "LAYER_LARGE_PACKET", Message: "1024 bytes each way passed"})
		}, Degraded, 40, "attention LAYER_LARGE_PACKET"},
		{"there is no storage to prove", "k3s-ours-running", func(p *Patient) {
			p.Agent = agent(wire.Condition{Type: health.Storage, Status: health.Unknown, Reason: "NoStorageClass"})
		}, Healthy, 0, ""},
		{"what hangs on another is not told twice", "k3s-ours-running", func(p *Patient) {
			p.Agent = agent(wire.Condition{Type: health.ClusterReachable, Status: health.False, Reason: "Unreachable"},
				wire.Condition{Type: health.NodesReady, Status: health.Unknown, Reason: "Unreachable"})
		}, Unwell, 40, "broken CLUSTER_UNHEALTHY"},
		{"stopped, and its port is taken", "k3s-ours-running", func(p *Patient) {
			stopped(p)
			p.Facts.Listening = []host.Listener{{Proto: "tcp", Port: 6443, Owner: "nginx", PID: 812}}
		}, Unwell, 40, "broken CLUSTER_UNHEALTHY, broken NET_PORT_TAKEN"},
		{"stopped, and its words tell why", "k3s-ours-running", func(p *Patient) {
			stopped(p)
			p.Words.Unit = "time=\"2026-11-26T01:50:07Z\" level=fatal msg=\"bootstrap data already found and encrypted with different token\"\n"
		}, Unwell, 40, "broken K3S_TOKEN, broken CLUSTER_UNHEALTHY"},
		{"it runs and is not ready, and its words tell why", "k3s-ours-running", func(p *Patient) {
			p.Agent = agent(wire.Condition{Type: health.NodesReady, Status: health.False, Reason: "NotReady", Message: "0 of 1 nodes are ready"})
			p.Words.Unit = "E1126 01:55:55.282623    5792 x.go:1] \"NetworkReady=false\" err=\"cni plugin not initialized\"\n"
		}, Unwell, 40, "broken K3S_CNI, attention LAYER_NODE"},
		{"what it said in passing says nothing once it is well", "k3s-ours-running", func(p *Patient) {
			p.Agent = agent()
			p.Words.Unit = "E1126 01:55:55.282623    5792 x.go:1] \"NetworkReady=false\" err=\"cni plugin not initialized\"\n"
		}, Healthy, 0, "attention HOST_DISK_LOW"},
		{"gone", "debian12-vm", func(p *Patient) { p.Enrolled, p.Request.Distro, p.Silence = true, "k3s", silent }, Unwell, 40,
			"broken AGENT_NOT_RUNNING, broken CLUSTER_NONE"},
		{"the certificate has expired", "k3s-ours-running", func(p *Patient) {
			p.Enrolled, p.Silence, p.Expires = true, silent, p.Now.Add(-time.Hour)
		}, Unwell, 40, "broken AGENT_NOT_RUNNING, attention CERTIFICATE_EXPIRED"},
		{"an adopted cluster has stopped", "k3s-foreign-stopped", func(p *Patient) {
			p.Agent = agent(wire.Condition{Type: health.ClusterReachable, Status: health.False, Reason: "Unreachable"})
			p.Agent.Distro = distro.Existing
		}, Unwell, 40, "broken CLUSTER_UNHEALTHY, broken CLUSTER_NONE"},
		{"an unknown distribution", "debian12-vm", func(p *Patient) { p.Request.Distro = "k9s" }, NotInstalled, 2, ""},
		{"settings that are not understood", "debian12-vm", func(p *Patient) { p.Settings = reason.Newf(reason.Usage, "gatway") }, NotInstalled, 2, "broken USAGE"},
		{"an identity that is damaged", "k3s-ours-running", func(p *Patient) { p.Enrolled, p.Identity = true, errors.New("no key") }, Unwell, 40, "broken IDENTITY_MISSING"},
		{"a worker that is well", "k3s-ours-running", joinedWorker, Healthy, 0, ""},
		{"a worker whose kubelet is not", "k3s-ours-running", func(p *Patient) {
			joinedWorker(p)
			p.Agent.Conditions[3] = wire.Condition{Type: health.NodesReady, Status: health.False, Reason: "NotReady", Message: "the kubelet of this node: refused"}
		}, Degraded, 40, "attention LAYER_NODE"},
		{"another error", "k3s-ours-running", func(p *Patient) { p.Silence = errors.New("cannot read") }, Unwell, 40, "broken AGENT_NOT_RUNNING"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := captured(t, tt.machine)
			if tt.change != nil {
				tt.change(&p)
			}
			r := Examine(p)
			if r.Verdict != tt.verdict || reason.Exit(r.Err()) != tt.exit {
				t.Errorf("got %s and exit code %d, want %s and %d: %+v", r.Verdict, reason.Exit(r.Err()), tt.verdict, tt.exit, r.Findings)
			}
			for want := range strings.SplitSeq(tt.codes, ", ") {
				severity, code, _ := strings.Cut(want, " ")
				if want != "" && !has(r, Severity(severity), reason.Code(code)) {
					t.Errorf("%s is missing in %+v", want, r.Findings)
				}
			}
			if tt.verdict == Healthy && r.Count(Broken) > 0 {
				t.Errorf("something is broken: %+v", r.Findings)
			}
		})
	}
}

func has(r Report, s Severity, code reason.Code) bool {
	for _, f := range r.Findings {
		if f.Severity == s && f.Code == code {
			return true
		}
	}
	return false
}

// TestMachines: on every captured machine the report is complete, the same each time, and ends as a plan would.
func TestMachines(t *testing.T) {
	entries, err := os.ReadDir(machines)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		p := captured(t, e.Name())
		r := Examine(p)
		again := Examine(p)
		first, _ := json.Marshal(r)
		second, _ := json.Marshal(again)
		if diff := cmp.Diff(string(first), string(second)); diff != "" {
			t.Errorf("%s is judged in two ways:\n%s", e.Name(), diff)
		}
		last := Broken
		told := map[reason.Code]bool{}
		for _, f := range r.Findings {
			if f.Code != "" && told[f.Code] {
				t.Errorf("%s: %s is told twice", e.Name(), f.Code)
			}
			told[f.Code] = true
			if f.Title == "" || f.Fix == "" || f.Where == "" || f.Cost == "" || f.Code != "" && f.Doc == "" {
				t.Errorf("%s: something is missing in %+v", e.Name(), f)
			}
			if last == Note && f.Severity != Note || last == Attention && f.Severity == Broken {
				t.Errorf("%s: %s comes after what is less bad", e.Name(), f.Title)
			}
			last = f.Severity
		}
		if r.Verdict != NotInstalled {
			continue
		}
		f := p.Facts
		f.UID = host.Is(0)
		want := reason.Exit(distro.Decide(f, p.Trials, p.Request).Err())
		if got := reason.Exit(r.Err()); got != want {
			t.Errorf("%s ends with %d, the plan with %d", e.Name(), got, want)
		}
		if (want != 0) != (r.Count(Broken) > 0) {
			t.Errorf("%s: exit code %d, and %d things are broken", e.Name(), want, r.Count(Broken))
		}
	}
}

// TestACodeIsToldOnce: what is seen twice is one finding with all of the evidence, as bad as the worst, with the fix that says most.
func TestACodeIsToldOnce(t *testing.T) {
	p := captured(t, "k3s-ours-running")
	stopped(&p)
	p.Facts.UID = host.Is(1000)
	p.Silence = reason.Newf(reason.HostNotRoot, "denied")
	p.Agent = agent(wire.Condition{Type: health.ClusterReachable, Status: health.False, Reason: "Unreachable", Message: "refused"})
	p.Words.Unit = "time=\"2026-11-26T01:50:07Z\" level=fatal msg=\"write /var/lib/x: no space left on device\"\n"
	r := Examine(p)
	told := map[reason.Code]Finding{}
	for _, f := range r.Findings {
		if _, twice := told[f.Code]; twice && f.Code != "" {
			t.Errorf("%s is told twice: %+v", f.Code, r.Findings)
		}
		told[f.Code] = f
	}
	unhealthy := told[reason.ClusterUnhealthy]
	for _, want := range []string{"ClusterReachable is False", "which pipeops-agent installed, is not running"} {
		if !strings.Contains(unhealthy.Evidence, want) {
			t.Errorf("%q is missing in %q", want, unhealthy.Evidence)
		}
	}
	if !strings.HasPrefix(unhealthy.Fix, "systemctl start k3s;") {
		t.Errorf("the way out is %q", unhealthy.Fix)
	}
	if disk := told[reason.HostDiskLow]; disk.Severity != Broken || !strings.Contains(disk.Evidence, "no space left on device") {
		t.Errorf("the disk: %+v", disk)
	}
	if r.Findings[0].Code != reason.HostDiskLow {
		t.Errorf("the cause is not told first: %+v", r.Findings)
	}
}

func TestMerge(t *testing.T) {
	own := reason.Lookup(reason.NetPortTaken).Fix
	one := found(Attention, reason.NetPortTaken, "port 6443", "")
	tests := []struct {
		name     string
		with     Finding
		severity Severity
		evidence string
		fix      string
		harmless bool
	}{
		{"the same again", one, Attention, "port 6443", own, true},
		{"more evidence", found(Attention, reason.NetPortTaken, "port 80", ""), Attention, "port 6443; port 80", own, false},
		{"nearly the same", found(Attention, reason.NetPortTaken, "port 64", ""), Attention, "port 6443; port 64", own, false},
		{"a better fix", found(Attention, reason.NetPortTaken, "port 80", "stop nginx"), Attention, "port 6443; port 80", "stop nginx", false},
		{"less bad", found(Note, reason.NetPortTaken, "port 80", "nothing"), Attention, "port 6443; port 80", own, true},
		{"worse", found(Broken, reason.NetPortTaken, "port 80", ""), Broken, "port 6443; port 80", own, false},
	}
	one.harmless = true
	for _, tt := range tests {
		if tt.name == "the same again" {
			tt.with.harmless = true
		}
		got := one.and(tt.with)
		if got.Severity != tt.severity || got.Evidence != tt.evidence || got.Fix != tt.fix || got.harmless != tt.harmless {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
	first, second := found(Broken, reason.NetPortTaken, "a", "stop nginx"), found(Broken, reason.NetPortTaken, "b", "stop apache2")
	if got := first.and(second).Fix; got != "stop nginx; stop apache2" {
		t.Errorf("two ways out are %q", got)
	}
}

// TestLayersAreExplained: a layer that failed is told with when it was tried, and with what of the machine makes a cause likely.
func TestLayersAreExplained(t *testing.T) {
	p := captured(t, "k3s-ours-running")
	p.Facts.Firewall.UFW = host.Is(true)
	p.Agent = agent(wire.Condition{Type: health.PodNetwork, Status: health.False, Reason: "LAYER_POD_NETWORK",
		Message: "the pod does not reach the API server", Checked: time.Unix(1_799_999_000, 0), Since: time.Unix(1_799_990_000, 0)})
	r := Examine(p)
	if len(r.Conditions) != len(health.All()) {
		t.Errorf("the report holds %d conditions", len(r.Conditions))
	}
	for _, f := range r.Findings {
		if f.Code != reason.LayerPodNetwork {
			continue
		}
		for _, want := range []string{"the pod does not reach the API server", "tried last at 2027-01-15T", "since 2027-01-15T"} {
			if !strings.Contains(f.Evidence, want) {
				t.Errorf("%q is missing in %q", want, f.Evidence)
			}
		}
		if !strings.Contains(f.Fix, "ufw is active: let it accept 10.42.0.0/16 and 10.43.0.0/16") || !strings.Contains(f.Fix, "; else ") {
			t.Errorf("the way out is %q", f.Fix)
		}
		return
	}
	t.Errorf("not found in %+v", r.Findings)
}
