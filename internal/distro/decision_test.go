package distro

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/golden"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
)

const machinesDir = "../host/testdata/machines"

// captured is a machine with what was found out about it.
type captured struct {
	facts  host.Facts
	trials trial.Results
}

func machine(t testing.TB, name string) captured {
	t.Helper()
	s, err := host.Load(filepath.Join(machinesDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return captured{host.Collect(t.Context(), s), trial.Of(s)}
}

// captures are read once: no test changes what it holds.
var captures = sync.OnceValues(func() (map[string]captured, error) {
	entries, err := os.ReadDir(machinesDir)
	if err != nil {
		return nil, err
	}
	all := map[string]captured{}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		s, err := host.Load(filepath.Join(machinesDir, e.Name()))
		if err != nil {
			return nil, err
		}
		all[e.Name()] = captured{host.Collect(context.Background(), s), trial.Of(s)}
	}
	return all, nil
})

func machines(t testing.TB) map[string]captured {
	t.Helper()
	all, err := captures()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestMachines compares the decision for every captured machine, and what people see of it, with golden files.
func TestMachines(t *testing.T) {
	for name, m := range machines(t) {
		t.Run(name, func(t *testing.T) {
			d := Decide(m.facts, m.trials, Request{})
			golden.Check(t, filepath.Join("testdata/decisions", name+".json"), document(t, d))
			golden.Check(t, filepath.Join("testdata/decisions", name+".txt"), d.Text())
		})
	}
}

func document(t testing.TB, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n"
}

// TestRequests says for what is asked on which machine what is chosen, or which error the user meets.
func TestRequests(t *testing.T) {
	adopt := Request{Adopt: true}
	named := func(name string) Request { return Request{Distro: name} }
	tests := []struct {
		machine string
		request Request
		chosen  string
		code    reason.Code
		exit    int
	}{
		{"debian12-vm", Request{}, K3s, "", 0},
		{"debian12-vm", named(K3s), K3s, "", 0},
		{"debian12-vm", named(Existing), "", reason.ClusterNone, 10},
		{"debian12-vm", Request{Distro: Existing, Kubeconfig: "/root/.kube/config"}, Existing, "", 0},
		{"debian12-vm", Request{Distro: Existing, Kubeconfig: k3sKubeconfig}, "", reason.ClusterNone, 10},               // noted by an install that waits for a reboot
		{"debian12-vm", Request{Distro: Existing, Kubeconfig: k3dNodes().kubeconfigFile()}, "", reason.ClusterNone, 10}, // noted by one whose image was missing
		{"debian12-vm", named(Kind), "", reason.DockerUnreachable, 10},
		{"debian12-vm", named("talos"), "", reason.Usage, 2},
		{"lab-nspawn", Request{}, K3s, "", 0},
		{"lab-nspawn", Request{Kubernetes: "v1.35.0+k3s1"}, K3s, "", 0},
		{"lab-nspawn", Request{Kubernetes: "v1.38.0+k3s1"}, "", reason.HostCgroupV1, 12},
		{"rocky8-cgroup-v1", Request{Kubernetes: "v1.34.1+k3s1"}, K3s, "", 0},
		{"rocky8-cgroup-v1", Request{Kubernetes: "v1.35.0+k3s1"}, K3s, "", 0},
		{"rocky8-cgroup-v1", Request{Kubernetes: "v1.38.0+k3s1"}, "", reason.HostCgroupV1, 10},
		{"vps-512mb", Request{}, "", reason.HostMemoryLow, 10},
		{"vps-512mb", named(K3s), K3s, "", 0}, // waived
		{"vps-1gb", Request{}, K3s, "", 0},
		{"k3s-foreign-running", Request{}, "", reason.ClusterForeign, 10},
		{"k3s-foreign-running", adopt, Existing, "", 0},
		{"k3s-foreign-running", named(Existing), Existing, "", 0},
		{"k3s-foreign-running", named(K3s), "", reason.ClusterForeign, 10},
		{"k3s-foreign-stopped", adopt, "", reason.ClusterForeign, 10},
		{"k3s-foreign-stopped", named(Existing), "", reason.ClusterNone, 10},
		{"k3s-ours-running", Request{}, K3s, "", 0},
		{"k3s-ours-running", adopt, K3s, "", 0},
		{"k3s-ours-undone", Request{}, "", reason.ClusterForeign, 10},
		{"k3s-debris", adopt, "", reason.ClusterDebris, 10},
		{"k3s-preloaded-images", adopt, K3s, "", 0},
		{"kubeadm-running", adopt, Existing, "", 0},
		{"two-clusters", adopt, "", reason.ClusterForeign, 10},
		{"two-clusters", named(Existing), "", reason.ClusterSeveral, 10},
		{"two-clusters", Request{Distro: Existing, Kubeconfig: "/etc/rancher/k3s/k3s.yaml"}, Existing, "", 0},
		{"port-6443-taken", adopt, "", reason.NetPortTaken, 10},
		{"nspawn-restricted", Request{}, "", reason.HostContainerNesting, 12},
		{"lxc-privileged", Request{}, "", reason.HostContainerNesting, 12},
		{"lxc-privileged-nesting", Request{}, K3s, "", 0},
		{"lxc-unprivileged", Request{}, K3s, "", 0}, // KubeletInUserNamespace
		{"docker-container", Request{}, "", reason.HostContainerNesting, 12},
		{"docker-half-cpu", Request{}, "", reason.HostContainerNesting, 12},
		{"wsl1", Request{}, "", reason.HostWSL1, 10},
		{"wsl2-systemd", Request{}, K3s, "", 0},
		{"wsl2-no-systemd", Request{}, K3d, "", 0},  // by Docker Desktop
		{"wsl2-no-systemd", named(K3s), K3s, "", 0}, // supervised
		{"openvz", Request{}, "", reason.HostOpenVZ, 10},
		{"pi4-no-memory-cgroup", Request{}, "", reason.HostCgroupController, 10},
		{"pi4-no-memory-cgroup", Request{Consent: []reason.Cost{reason.CostPackage}}, "", reason.HostCgroupController, 10},
		{"pi4-no-memory-cgroup", Request{Consent: []reason.Cost{reason.CostReboot}}, K3s, "", 0},
		{"pi4-32bit-userland", Request{}, "", reason.HostArch, 10},
		{"alpine-openrc", Request{}, K3s, "", 0},
		{"nfs-data-dir", Request{}, "", reason.HostDiskType, 10},
		{"disk-full", Request{}, "", reason.HostDiskLow, 10},
		{"nothing-known", Request{}, K3s, "", 0},
	}
	for _, tt := range tests {
		m := machine(t, tt.machine)
		d := Decide(m.facts, m.trials, tt.request)
		err := d.Err()
		if d.Chosen != tt.chosen || reason.Exit(err) != tt.exit || tt.code != "" && !reason.Is(err, tt.code) {
			t.Errorf("%s %+v: chosen %q, %v (exit %d); want %q, %s (exit %d)", tt.machine, tt.request, d.Chosen, err, reason.Exit(err), tt.chosen, tt.code, tt.exit)
		}
	}
}

func TestNotRoot(t *testing.T) {
	m := machine(t, "debian12-vm")
	m.facts.UID = host.Is(1000)
	if err := Decide(m.facts, m.trials, Request{}).Err(); !reason.Is(err, reason.HostNotRoot) || reason.Exit(err) != reason.ExitHostRefused {
		t.Errorf("as a user: %v", err)
	}
}

// TestWaiver: what was asked for by name is chosen, and the reasons against it are kept; nothing but size and place can be waived.
func TestWaiver(t *testing.T) {
	m := machine(t, "vps-512mb")
	d := Decide(m.facts, m.trials, Request{Distro: K3s})
	k, _ := d.Candidate(K3s)
	if k.Verdict != string(Waived) || len(k.Reasons) != 1 || k.Reasons[0].Code != reason.HostMemoryLow {
		t.Errorf("%+v", k)
	}
	for _, q := range k3s().Requirements {
		if q.Waivable && !slices.Contains([]string{"memory", "etcd-memory", "etcd-disk", "cpus", "docker-desktop"}, q.Name) {
			t.Errorf("%s can be waived", q.Name)
		}
	}
}

// TestRemedy: containerd is configured if the trial failed, and only then.
func TestRemedy(t *testing.T) {
	m := machine(t, "debian12-vm")
	for _, c := range []struct {
		result trial.Result
		want   bool
	}{{trial.Result{OK: host.Is(false), Detail: "permission denied"}, true}, {trial.Result{OK: host.Is(true)}, false}, {trial.Result{}, false}} {
		m.trials[trial.OOMScoreAdj] = c.result
		d := Decide(m.facts, m.trials, Request{})
		if d.Chosen != K3s || d.NeedsRemedy(RemedyOOMScore) != c.want {
			t.Errorf("%+v: %+v", c.result, d.Remedies)
		}
	}
}

func TestKubeconfig(t *testing.T) {
	for _, c := range []struct {
		machine string
		request Request
		want    string
	}{
		{"debian12-vm", Request{}, "/etc/rancher/k3s/k3s.yaml"},
		{"kubeadm-running", Request{Adopt: true}, "/etc/kubernetes/admin.conf"},
		{"kubeadm-running", Request{Distro: Existing, Kubeconfig: "/tmp/k"}, "/tmp/k"},
		{"vps-512mb", Request{}, ""},
	} {
		m := machine(t, c.machine)
		if got := Decide(m.facts, m.trials, c.request).Kubeconfig; got != c.want {
			t.Errorf("%s: %q, want %q", c.machine, got, c.want)
		}
	}
}

// TestOrder: the order in which distributions are considered is a promise.
func TestOrder(t *testing.T) {
	if got := Names(); !slices.Equal(got, []string{"existing", "k3s", "k3d", "kind", "minikube"}) {
		t.Errorf("order: %v", got)
	}
	for _, d := range All() {
		if d.Title == "" || d.Kubeconfig == nil || len(d.Requirements) == 0 {
			t.Errorf("%s is not whole", d.Name)
		}
		var seen []string
		for _, q := range d.Requirements {
			if q.Name == "" || q.Judge == nil || slices.Contains(seen, q.Name) {
				t.Errorf("%s: requirement %q has no name of its own or no Judge", d.Name, q.Name)
			}
			reason.Lookup(q.Code) // panics if there is no such code
			seen = append(seen, q.Name)
		}
	}
}

// TestDeterminism: the same facts give the same decision, byte by byte, also if they come from a file.
func TestDeterminism(t *testing.T) {
	for name, m := range machines(t) {
		want := document(t, Decide(m.facts, m.trials, Request{}))
		var r host.Report
		if err := json.Unmarshal([]byte(document(t, m.facts.Report())), &r); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, document(t, Decide(r.Facts, m.trials, Request{}))); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

// TestReasonsAreWhole: every refusal says what was seen, what to do, where and at what cost, and what would have to be.
func TestReasonsAreWhole(t *testing.T) {
	for name, m := range machines(t) {
		for _, distro := range append(Names(), Auto) {
			for _, k := range Decide(m.facts, m.trials, Request{Distro: distro}).Candidates {
				for _, r := range append(k.Reasons, k.Warnings...) {
					if r.Code == "" || r.Title == "" || r.Evidence == "" || r.Fix == "" || r.Where == "" || r.Cost == "" {
						t.Errorf("%s, %s: %+v", name, k.Name, r)
					}
				}
				if k.Verdict != Chosen && k.Verdict != string(Waived) && (len(k.Counterfactual) == 0 || slices.Contains(k.Counterfactual, "")) {
					t.Errorf("%s, %s is %s: counterfactual %q", name, k.Name, k.Verdict, k.Counterfactual)
				}
			}
		}
	}
}

// TestLessMemory: taking memory away never makes a distribution fit that did not fit before.
func TestLessMemory(t *testing.T) {
	t.Parallel()
	for name, m := range machines(t) {
		rejected := map[string]bool{}
		for total := uint64(64 * gib); total > 0; total = total * 2 / 3 {
			f := m.facts
			f.Memory.Total, f.Memory.Limit = host.Is(total), host.Known[uint64]{}
			for _, k := range Decide(f, m.trials, Request{}).Candidates {
				if k.Verdict != Rejected && rejected[k.Name] {
					t.Errorf("%s: %s fits with %s, and not with more", name, k.Name, host.Bytes(total))
				}
				rejected[k.Name] = k.Verdict == Rejected
			}
		}
	}
}

// TestUnknownRefusesNothing: where k3s fits, it still does when we know less.
func TestUnknownRefusesNothing(t *testing.T) {
	t.Parallel()
	for name, m := range machines(t) {
		if Decide(m.facts, m.trials, Request{}).Chosen != K3s {
			continue
		}
		fields := reflect.TypeFor[host.Facts]()
		for i := range fields.NumField() {
			if name == "k3s-ours-running" && fields.Field(i).Name == "Clusters" {
				continue // that the cluster is ours is what excuses the disk that it has filled
			}
			if fields.Field(i).Name == "Volumes" && Decide(m.facts, m.trials, Request{}).NeedsRemedy(RemedyDataDir) {
				continue // that there is another disk is what excuses the one that does not do
			}
			f := m.facts
			reflect.ValueOf(&f).Elem().Field(i).SetZero()
			if d := Decide(f, m.trials, Request{}); d.Chosen != K3s {
				t.Errorf("%s without %s: %v", name, fields.Field(i).Name, d.Err())
			}
		}
		for trialName := range m.trials {
			less := trial.Results{}
			for n, r := range m.trials {
				if n != trialName {
					less[n] = r
				}
			}
			if d := Decide(m.facts, less, Request{}); d.Chosen != K3s {
				t.Errorf("%s without the trial %s: %v", name, trialName, d.Err())
			}
		}
	}
}

// FuzzDecide: whatever a facts file holds, there is a choice or a refusal with an exit code of the contract.
func FuzzDecide(f *testing.F) {
	for _, m := range machines(f) {
		f.Add([]byte(document(f, m.facts.Report())), Auto)
	}
	f.Fuzz(func(t *testing.T, b []byte, name string) {
		var r host.Report
		if json.Unmarshal(b, &r) != nil {
			return
		}
		d := Decide(r.Facts, nil, Request{Distro: name})
		d.Text()
		_, known := Get(name)
		switch exit := reason.Exit(d.Err()); {
		case d.Chosen != "" && exit == 0, d.Chosen == "" && (exit == 10 || exit == 12):
		case exit == 2 && !known && name != Auto && name != "":
		default:
			t.Errorf("chosen %q, exit %d", d.Chosen, exit)
		}
	})
}
