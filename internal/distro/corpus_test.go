package distro

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// expectation is what must come out for a captured machine. It was derived from the research on hosts (research/bootstrap.md,
// the section is in why), not from what the code says: where both differ, one of them is wrong.
//
// Codes and remedies are lists divided by blanks. "A|B" is one of both, "k3d:A" is asked of k3d instead of k3s.
type expectation struct {
	machine  string
	chosen   string // "" is nothing, anything is not judged, "k3d|kind" is one of both
	exit     int
	why      string
	refuses  string // codes among the reasons
	shows    string // codes among the reasons, the warnings or the remedies
	quiet    string // codes that are in none of them
	remedies string // ids of what the chosen one needs
	with     string // parts of what any of them is applied with
	consent  string // ids of what the user is asked for: with the consent, k3s is chosen
	outer    string // part, in lower case, of the name of the outer host for which there is a patch
}

const (
	anything = "*"
	// refused is an exit code of 10 or 12: the cause lies outside the machine, and the research does not say whether that is
	// an outer host that could be changed or a machine that is too small.
	refused = -1
	// plain is what an ordinary virtual machine must not be troubled with.
	plain = "HOST_CONTAINER_NESTING HOST_MODULES HOST_NETFILTER HOST_VXLAN HOST_OVERLAY HOST_NAMESPACES HOST_IMMUTABLE HOST_READ_ONLY HOST_KEYRING " +
		"HOST_CLOCK HOST_PAGE_SIZE HOST_CPU_LEVEL HOST_PORTABLE HOST_DISK_SLOW HOST_NODE_NAME HOST_REBOOT_PENDING HOST_PACKAGES_BUSY " +
		"NET_CIDR_OVERLAP NET_WEB_PORTS NET_IPV6_ONLY NET_NO_ROUTE NEIGHBOUR_PANEL CLUSTER_DEBRIS CLUSTER_FOREIGN"
	// noFirewall is for those that have neither a firewall nor SELinux in force.
	noFirewall = plain + " NET_FIREWALL HOST_SELINUX"
)

// TestCorpus compares the decision for every captured machine with what it has to be.
func TestCorpus(t *testing.T) {
	all := machines(t)
	seen := map[string]bool{}
	for _, e := range corpus() {
		if seen[e.machine] {
			t.Errorf("%s is there twice", e.machine)
		}
		seen[e.machine] = true
		m, ok := all[e.machine]
		if !ok {
			t.Errorf("there is no machine %s", e.machine)
			continue
		}
		t.Run(e.machine, func(t *testing.T) {
			e.check(t, Decide(m.facts, m.trials, Request{Adopt: true}))
			if e.consent == "" {
				return
			}
			d := Decide(m.facts, m.trials, Request{Adopt: true, Consent: []reason.Cost{reason.CostPackage, reason.CostReboot}})
			if d.Chosen != K3s {
				t.Errorf("with consent %q is chosen (%v), %s", d.Chosen, d.Err(), e.why)
			}
			for _, id := range strings.Fields(e.consent) {
				if !d.NeedsRemedy(id) {
					t.Errorf("with consent the remedy %s is not applied, %s", id, e.why)
				}
			}
		})
	}
	for name := range all {
		if !seen[name] {
			t.Errorf("%s has no expectation", name)
		}
	}
}

func (e expectation) check(t *testing.T, d Decision) {
	t.Helper()
	err := d.Err()
	exit := reason.Exit(err)
	switch {
	case e.chosen == anything:
	case !slices.Contains(strings.Split(e.chosen, "|"), d.Chosen):
		t.Errorf("%q is chosen (%v), want %q: %s", d.Chosen, err, e.chosen, e.why)
	case e.exit == refused && exit != reason.ExitHostRefused && exit != reason.ExitOuterHost, e.exit != refused && exit != e.exit:
		t.Errorf("exit %d (%v), want %d: %s", exit, err, e.exit, e.why)
	}
	for _, list := range strings.Fields(e.refuses) {
		if name, codes := split(list); !slices.ContainsFunc(codes, func(c string) bool { return slices.Contains(refusals(d, name), c) }) {
			t.Errorf("%s is refused for %v, and not for %v: %s", name, refusals(d, name), codes, e.why)
		}
	}
	for _, list := range strings.Fields(e.shows) {
		if name, codes := split(list); !slices.ContainsFunc(codes, func(c string) bool { return slices.Contains(shown(d, name), c) }) {
			t.Errorf("%s shows %v, and not %v: %s", name, shown(d, name), codes, e.why)
		}
	}
	for _, list := range strings.Fields(e.quiet) {
		name, codes := split(list)
		for _, c := range codes {
			if slices.Contains(shown(d, name), c) {
				t.Errorf("%s shows %s: %s", name, c, e.why)
			}
		}
	}
	for _, id := range strings.Fields(e.remedies) {
		if !d.NeedsRemedy(id) {
			t.Errorf("the remedy %s is missing among %v: %s", id, ids(d.Remedies), e.why)
		}
	}
	for _, part := range strings.Fields(e.with) {
		if !slices.ContainsFunc(d.Remedies, func(r Remedy) bool { return strings.Contains(strings.Join(r.Values, " "), part) }) {
			t.Errorf("no remedy is applied with %s: %+v: %s", part, d.Remedies, e.why)
		}
	}
	for _, id := range strings.Fields(e.consent) {
		if !slices.Contains(ids(d.Consent), id) {
			t.Errorf("the remedy %s is not asked for among %v: %s", id, ids(d.Consent), e.why)
		}
	}
	if e.outer != "" && !slices.ContainsFunc(d.Outer, func(p Patch) bool { return strings.Contains(strings.ToLower(p.Host), e.outer) && len(p.Lines) > 0 }) {
		t.Errorf("there is no patch for %s: %s", e.outer, e.why)
	}
	for _, p := range d.Outer {
		for _, l := range p.Lines {
			if l.Text == "" || l.Risk == "" {
				t.Errorf("%s: the line %+v has no text or no risk", p.Host, l)
			}
		}
	}
}

// split reads "k3d:A|B"; without a name k3s is meant.
func split(list string) (name string, codes []string) {
	name, rest, named := strings.Cut(list, ":")
	if !named {
		name, rest = K3s, list
	}
	return name, strings.Split(rest, "|")
}

func refusals(d Decision, name string) []string {
	k, _ := d.Candidate(name)
	var all []string
	for _, r := range k.Reasons {
		all = append(all, string(r.Code))
	}
	return all
}

// shown returns the codes that are shown with a distribution in any way.
func shown(d Decision, name string) []string {
	all := refusals(d, name)
	k, _ := d.Candidate(name)
	for _, r := range k.Warnings {
		all = append(all, string(r.Code))
	}
	remedies := d.Consent
	if d.Chosen == name {
		remedies = d.Remedies
	}
	for _, r := range remedies {
		all = append(all, string(r.Code))
	}
	return all
}

func ids(remedies []Remedy) []string {
	var all []string
	for _, r := range remedies {
		all = append(all, r.ID)
	}
	return all
}

// TestCorpusRequests says what comes out for a request other than the usual one.
func TestCorpusRequests(t *testing.T) {
	named := func(name string) Request { return Request{Distro: name} }
	version := func(v string) Request { return Request{Kubernetes: v} }
	const next = "v1.35.0+k3s1" // refuses cgroup v1 and kernels before 4.5 (1.8, cgroup v1; 1.3, embedded-cluster)
	tests := []struct {
		request Request
		expectation
	}{
		{version(next), expectation{machine: "amazon-linux2", exit: 10, refuses: "HOST_CGROUP_V1", why: "1.7 Amazon Linux 2: refuse 1.35"}},
		{version(next), expectation{machine: "rocky8-cgroup-v1", chosen: K3s, remedies: RemedyKubeletArg, with: "fail-cgroupv1=false", why: "1.7 RHEL 8: fail-cgroupv1=false; 1.6.5: it costs nothing"}},
		{version(next), expectation{machine: "alma8-nm-cloud-setup", exit: 10, refuses: "NET_MANAGER", why: "1.7 RHEL 8"}},
		{version(next), expectation{machine: "ubuntu2004-cgroup-v1", chosen: K3s, remedies: RemedyKubeletArg, with: "fail-cgroupv1=false", why: "1.4 cgroup version: hybrid is v1 to the kubelet; 1.8: the override holds until 1.38"}},
		{version(next), expectation{machine: "cgroup-hybrid", chosen: K3s, remedies: RemedyKubeletArg, with: "fail-cgroupv1=false", why: "1.4 cgroup version; 1.8"}},
		{version(next), expectation{machine: "centos7", exit: 10, refuses: "HOST_KERNEL", why: "1.3 embedded-cluster: kernel 4.5 from 1.35 on"}},
		{version(next), expectation{machine: "lab-nspawn", chosen: K3s, remedies: RemedyKubeletArg, with: "fail-cgroupv1=false", why: "1.8 cgroup v1: the kubelet is ours also in a container"}},
		{version(next), expectation{machine: "debian12-vm", chosen: K3s, quiet: "HOST_CGROUP_V1 HOST_KERNEL", why: "1.8 cgroup v1: v2 is fine"}},
		{version("v1.34.1+k3s1"), expectation{machine: "amazon-linux2", chosen: K3s, why: "1.8 cgroup v1: not before 1.35"}},

		{named(Existing), expectation{machine: "debian12-vm", exit: 10, refuses: "existing:CLUSTER_NONE", why: "1.6.1"}},
		{named(K3s), expectation{machine: "vps-512mb-docker", chosen: K3s, shows: "HOST_MEMORY_LOW", why: "1.6.8: the user overrules a size"}},
		{named(K3s), expectation{machine: "port-10250-taken-docker-up", exit: 10, refuses: "NET_PORT_TAKEN", why: "1.6.8: not what cannot work"}},
		{named(K3d), expectation{machine: "port-10250-taken-docker-up", chosen: K3d, why: "1.6.8"}},
		{named(Kind), expectation{machine: "port-10250-taken-docker-up", chosen: Kind, why: "1.6.4: kind, wished for"}},
		{named(Minikube), expectation{machine: "nonroot-user-with-docker", chosen: Minikube, why: "1.6.4: minikube, asked for"}},
		{named(K3d), expectation{machine: "docker-engine-29", chosen: K3d, quiet: "k3d:DOCKER_TOO_OLD", why: "1.8 Docker API: negotiate"}},
		{named(K3d), expectation{machine: "vps-1gb-docker", chosen: K3d, shows: "k3d:HOST_MEMORY_LOW", why: "1.6.8: the user overrules a size"}},
		{named(K3d), expectation{machine: "docker-old-19", exit: 10, refuses: "k3d:DOCKER_TOO_OLD", why: "1.3 k3d: Docker 20.10.5"}},
		{named(K3s), expectation{machine: "wsl2-systemd-docker-desktop", chosen: K3s, why: "1.7 WSL2: that k3d is preferred is no gate"}},
		{named(K3d), expectation{machine: "nonroot-user", exit: 10, refuses: "k3d:DOCKER_UNREACHABLE", why: "1.3 k3d: live Docker"}},
		{named(K3d), expectation{machine: "k3d-running", chosen: K3d, shows: "k3d:CLUSTER_FOREIGN", quiet: "k3d:ENGINE_NAME_TAKEN", why: "1.6.8: recorded waiver; another cluster in the engine is no hindrance"}},
		{named(Kind), expectation{machine: "k3d-name-taken", chosen: Kind, shows: "kind:CLUSTER_FOREIGN", why: "1.6.8: recorded waiver; a kind cluster of that name is another"}},
		{named(K3d), expectation{machine: "k3d-name-taken", exit: 10, refuses: "k3d:ENGINE_NAME_TAKEN", why: "1.6.8: not what cannot work"}},
		{named(Minikube), expectation{machine: "three-clusters-in-docker", chosen: Minikube, shows: "minikube:CLUSTER_FOREIGN", why: "1.6.8"}},
		{named(K3d), expectation{machine: "k3d-unfinished", chosen: K3d, shows: "k3d:CLUSTER_UNFINISHED", why: "1.6.8: it stays as it is, beside ours"}},
		{named(Kind), expectation{machine: "kind-stopped", chosen: Kind, shows: "kind:CLUSTER_FOREIGN", why: "1.6.8"}},
		{named(Minikube), expectation{machine: "minikube-debris", chosen: Minikube, shows: "minikube:CLUSTER_DEBRIS", why: "1.6.8"}},
		{named(K3s), expectation{machine: "kind-stopped", exit: 10, refuses: "CLUSTER_FOREIGN", why: "1.6.8: k3s takes the machine itself"}},
		{named(Existing), expectation{machine: "kubeconfig-dead", exit: 10, refuses: "existing:KUBECONFIG_DEAD", why: "1.6.1"}},
		{named(Kind), expectation{machine: "docker-denied", exit: 10, refuses: "kind:DOCKER_UNREACHABLE", why: "1.3"}},
		{Request{Distro: K3d, APIPort: 10250}, expectation{machine: "port-10250-taken-docker-up", exit: 10, refuses: "k3d:NET_PORT_TAKEN", why: "1.5: the port that was asked for"}},
		{Request{Distro: K3d, APIPort: 6550}, expectation{machine: "port-10250-taken-docker-up", chosen: K3d, quiet: "k3d:NET_PORT_TAKEN", why: "1.5"}},
		{Request{Distro: Kind, APIPort: 6550}, expectation{machine: "three-clusters-in-docker", exit: 10, refuses: "kind:NET_PORT_TAKEN", why: "1.5: that of another cluster"}},
		{Request{Distro: K3d, Consent: []reason.Cost{reason.CostPackage}}, expectation{machine: "debian12-vm", chosen: K3d, remedies: RemedyPackage + " " + RemedyEngineStart, with: "docker.io", why: "issue 5: Docker from the distribution's own archive, when consented"}},
		{Request{Distro: Kind, Consent: []reason.Cost{reason.CostPackage}}, expectation{machine: "rhel9", chosen: Kind, remedies: RemedyPackage, with: "podman", why: "1.3 kind: Podman; RHEL has no Docker"}},
		{Request{Distro: K3d, Consent: []reason.Cost{reason.CostPackage}}, expectation{machine: "rhel9", exit: 10, refuses: "k3d:DOCKER_UNREACHABLE", why: "1.3 k3d: Docker"}},
		{Request{Distro: K3d, Consent: []reason.Cost{reason.CostPackage}}, expectation{machine: "nixos", exit: 10, refuses: "k3d:DOCKER_UNREACHABLE", why: "1.7 NixOS: declared, not installed"}},
		{named(K3s), expectation{machine: "k3s-debris", exit: 10, refuses: "CLUSTER_DEBRIS", why: "1.6.2"}},

		{Request{Distro: Existing, Kubeconfig: "/Users/dev/.kube/config"}, expectation{machine: "mac-kubeconfig", chosen: Existing, why: "6: adopt on macOS"}},
		{Request{Distro: Existing, Kubeconfig: "/etc/rancher/k3s/k3s.yaml"}, expectation{machine: "three-clusters", chosen: Existing, why: "1.6.1: named"}},
		{Request{Ingress: true}, expectation{machine: "haproxy-443", chosen: K3s, shows: "NET_WEB_PORTS", remedies: RemedyDisable, with: "traefik", why: "1.5: without the bundled ingress, which needs 80 and 443"}},
		{Request{Ingress: true}, expectation{machine: "coolify-server", chosen: K3s, shows: "NET_WEB_PORTS", remedies: RemedyDisable, with: "traefik", why: "1.5"}},
		{Request{Ingress: true}, expectation{machine: "cpanel-server", chosen: K3s, shows: "NET_WEB_PORTS", remedies: RemedyDisable, with: "traefik", why: "1.5"}},
		{Request{Ingress: true}, expectation{machine: "ubuntu2404-vm", chosen: K3s, shows: "NET_WEB_PORTS", remedies: RemedyDisable, with: "traefik", why: "1.5"}},
		{Request{Ingress: true}, expectation{machine: "debian13", chosen: K3s, quiet: "NET_WEB_PORTS", why: "1.5"}},
		{Request{Consent: []reason.Cost{reason.CostReboot}}, expectation{machine: "pi4-no-memory-cgroup", chosen: K3s, remedies: RemedyKernelCmdline, why: "1.6.5: consent to a reboot"}},
		{Request{Consent: []reason.Cost{reason.CostPackage}}, expectation{machine: "pi4-no-memory-cgroup", exit: 10, refuses: "HOST_CGROUP_CONTROLLER", why: "1.6.5: consent to something else"}},
		{Request{Consent: []reason.Cost{reason.CostPackage, reason.CostReboot}}, expectation{machine: "vps-512mb", exit: 10, refuses: "HOST_MEMORY_LOW", why: "1.6.5: no consent makes memory"}},
	}
	for i, tt := range tests {
		t.Run(fmt.Sprintf("%d-%s", i, tt.machine), func(t *testing.T) {
			m := machine(t, tt.machine)
			tt.check(t, Decide(m.facts, m.trials, tt.request))
		})
	}
}
