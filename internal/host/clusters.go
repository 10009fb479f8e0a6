package host

import (
	"cmp"
	"context"
	"path"
	"slices"
	"strings"
)

// ClusterState says how much of a cluster is there.
type ClusterState string

// The states of a cluster. A folder that was left over is not a running cluster.
const (
	Running ClusterState = "running"
	Stopped ClusterState = "stopped" // installed, not running
	Debris  ClusterState = "debris"  // remains that nothing would start
	Doubt   ClusterState = "unknown" // installed; whether it runs could not be seen
	Remote  ClusterState = "remote"  // not on this machine: a kubeconfig leads to it

	Unfinished ClusterState = "unfinished" // of a cluster in containers: none that serves its API has ever run
	Gone       ClusterState = "gone"       // a kubeconfig leads to this machine, where nothing listens
)

// Cluster is a Kubernetes installation, or its remains.
type Cluster struct {
	Name       string       `json:"name"` // kind: "k3s", "rke2", "k0s", "microk8s", "kubeadm"; "k3d", "kind", "minikube"; "kubeconfig"
	State      ClusterState `json:"state"`
	Role       string       `json:"role"`                // "server", "agent"; "" is unknown
	Ours       Known[bool]  `json:"ours"`                // the agent installed it; only root can tell
	Kubeconfig string       `json:"kubeconfig,omitzero"` // of its administrator
	Unit       string       `json:"unit,omitzero"`       // what starts it: "k3s.service"
	Evidence   []string     `json:"evidence"`            // the paths that were seen

	Context string         `json:"context,omitzero"` // of the kubeconfig; "" is its current one
	Answer  *ClusterAnswer `json:"answer,omitzero"`  // nil: it was not asked, which the probes do not

	Cluster string `json:"cluster,omitzero"` // its own name, of a k3d, kind or minikube cluster
	Port    int    `json:"port,omitzero"`    // of the machine, on which such a cluster has its API, or a kubeconfig expects it; 0: unknown
	// Server says where a kubeconfig leads: "local", "private", "eks", "gke", "aks" and other services, "public".
	Server string `json:"server,omitzero"`
	// Settings are those that a k3s of ours was made with: networks, backend, snapshotter, name; null: unknown.
	Settings map[string]string `json:"settings,omitzero"`
}

// ClusterAnswer is what a cluster has said of itself, or why it said nothing.
type ClusterAnswer struct {
	Server     string `json:"server,omitzero"` // address of its API
	Kubernetes string `json:"kubernetes,omitzero"`
	Nodes      int    `json:"nodes"`
	Ready      int    `json:"ready"`             // of the nodes
	Provider   string `json:"provider,omitzero"` // "eks", "gke", "aks", ...
	Code       string `json:"code,omitzero"`     // of the catalogue; "": it answers
	Trouble    string `json:"trouble,omitzero"`  // what was seen
}

func clustersProbe() Probe {
	return Probe{Name: "clusters", Run: func(ctx context.Context, s *System) (Part, error) {
		names, err := processNames(ctx, s)
		s.record.processes(names)
		var all []Cluster
		if s.Live() || names != nil { // a capture that tells of no program may tell of no file either
			all = []Cluster{}
		}
		for _, k := range clusterKinds() {
			if c, ok := k.find(s, names); ok {
				all = append(all, c)
			}
		}
		all = withBareMinikube(s, all)
		inEngine, engineErr := engineClusters(ctx, s)
		all = append(all, withKubeconfigs(s, inEngine)...)
		if c, ok := kubeconfigCluster(ctx, s, all); ok {
			all = append(all, c)
		}
		return func(f *Facts) { f.Clusters = all }, cmp.Or(err, engineErr)
	}}
}

// clusterKind says how an installation of Kubernetes is recognised.
type clusterKind struct {
	name       string
	processes  []string // names begin with one of these
	units      []string // of a server, then of a worker
	binary     string
	kubeconfig string
	server     []string // paths that only a server has once it has run
	data       []string // paths that any node has once it has run
	port       int      // of its API
	bareUnit   bool     // the unit comes with a package before there is a cluster
	ledger     []string // targets of changes in our ledger if we installed it
}

// clusterKinds lists the kinds. A path that ends in "/" is a folder that counts if it holds anything else than what the
// documentation of k3s tells people to put there before they install it: images, certificates, manifests, templates.
func clusterKinds() []clusterKind {
	return []clusterKind{
		{
			name: "k3s", processes: []string{"k3s"}, units: []string{"k3s.service", "k3s-agent.service"}, binary: "/usr/local/bin/k3s",
			kubeconfig: "/etc/rancher/k3s/k3s.yaml", server: []string{"/var/lib/rancher/k3s/server/"},
			data: []string{"/var/lib/rancher/k3s/agent/"},
			port: 6443, ledger: []string{"/etc/systemd/system/k3s.service", "/etc/systemd/system/k3s-agent.service", "/etc/init.d/k3s", "/etc/init.d/k3s-agent", supervisedK3s, supervisedWorker, "/usr/local/bin/k3s", "/etc/rancher/k3s/config.yaml"},
		},
		{
			name: "rke2", processes: []string{"rke2"}, units: []string{"rke2-server.service", "rke2-agent.service"}, binary: "/usr/local/bin/rke2",
			kubeconfig: "/etc/rancher/rke2/rke2.yaml", server: []string{"/var/lib/rancher/rke2/server/"},
			data: []string{"/var/lib/rancher/rke2/agent/"}, port: 6443, bareUnit: true,
		},
		{
			name: "k0s", processes: []string{"k0s"}, units: []string{"k0scontroller.service", "k0sworker.service"}, binary: "/usr/local/bin/k0s",
			kubeconfig: "/var/lib/k0s/pki/admin.conf", server: []string{"/var/lib/k0s/pki/ca.key"}, data: []string{"/var/lib/k0s/kubelet", "/var/lib/k0s/containerd"}, port: 6443,
		},
		{
			name: "microk8s", processes: []string{"kubelite"}, units: []string{"snap.microk8s.daemon-kubelite.service"}, binary: "/snap/microk8s/current",
			kubeconfig: "/var/snap/microk8s/current/credentials/client.config", data: []string{"/var/snap/microk8s/current"}, port: 16443,
		},
		{
			name: "kubeadm", processes: []string{"kubelet"}, units: []string{"kubelet.service"}, binary: "/usr/bin/kubelet",
			kubeconfig: "/etc/kubernetes/admin.conf", server: []string{"/etc/kubernetes/manifests/kube-apiserver.yaml"},
			data: []string{"/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/config.yaml"}, port: 6443, bareUnit: true,
		},
	}
}

// find looks for one kind. names are those of the running processes, nil if they are unknown.
func (k clusterKind) find(s *System, names []string) (Cluster, bool) {
	c := Cluster{Name: k.name, Ours: k.ours(s)}
	saw := func(paths ...string) bool {
		n := len(c.Evidence)
		for _, p := range paths {
			if strings.HasSuffix(p, "/") {
				c.Evidence = append(c.Evidence, remains(s, path.Clean(p))...)
			} else if s.has(p) {
				c.Evidence = append(c.Evidence, p)
			}
		}
		return len(c.Evidence) > n
	}
	for i, unit := range k.units {
		if file := unitFile(s, unit); file != "" && saw(file) {
			c.Unit, c.Role = unit, []string{"server", "agent"}[i]
			break
		}
	}
	if saw(k.kubeconfig) {
		c.Kubeconfig = k.kubeconfig
	}
	server := saw(k.server...)
	ran := saw(k.data...) || server || c.Kubeconfig != ""
	switch {
	case server || c.Kubeconfig != "":
		c.Role = "server"
	case ran && k.bareUnit:
		c.Role = "agent"
	}
	if c.Unit == "" && !ran || k.bareUnit && !ran {
		return Cluster{}, false
	}
	if k.name == "k3s" && c.Ours.Value {
		c.Settings = readK3sSettings(s)
	}
	binary := s.has(k.binary)
	installed := c.Unit != "" && (ran || binary)
	switch {
	case slices.ContainsFunc(names, k.is), listens(s, k.port) && installed && c.Role == "server":
		c.State = Running
	case !installed:
		c.State = Debris
	case names == nil:
		c.State = Doubt
	default:
		c.State = Stopped
	}
	return c, true
}

// maxRemains is the number of paths in a folder that are named as evidence.
const maxRemains = 3

// remains returns what a folder holds apart from what may be put there before an installation.
func remains(s *System, dir string) []string {
	entries, err := s.readDir(dir)
	if err != nil {
		return nil
	}
	var found []string
	for _, e := range entries {
		if slices.Contains([]string{"images", "etc", "pod-manifests", "tls", "manifests", "static"}, e.Name()) {
			continue
		}
		if p := path.Join(dir, e.Name()); len(found) < maxRemains && s.has(p) {
			found = append(found, p)
		}
	}
	return found
}

// is reports whether a process belongs to this kind: k3s calls itself k3s-server once it has started.
func (k clusterKind) is(process string) bool {
	return slices.ContainsFunc(k.processes, func(p string) bool { return process == p || strings.HasPrefix(process, p+"-") })
}

// ours looks into the ledger; only root may.
func (k clusterKind) ours(s *System) Known[bool] {
	if len(k.ledger) == 0 {
		return Is(false)
	}
	changed, seen := readLedger(s)
	if !seen {
		return Known[bool]{}
	}
	return Is(slices.ContainsFunc(k.ledger, func(p string) bool { return changed[p] }))
}

// supervisedK3s is the service of k3s where pipeops-agent run --supervise starts it, and supervisedWorker that of a worker.
const (
	supervisedK3s    = "/var/lib/pipeops-agent/services/k3s.json"
	supervisedWorker = "/var/lib/pipeops-agent/services/k3s-agent.json"
)

// unitFile finds what starts a service: a systemd unit, a script of the same name for OpenRC, or a service of our own
// supervisor.
func unitFile(s *System, unit string) string {
	for _, dir := range []string{"/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"} {
		if p := path.Join(dir, unit); s.has(p) {
			return p
		}
	}
	if p := "/etc/init.d/" + strings.TrimSuffix(unit, ".service"); s.has(p) {
		return p
	}
	if p := "/var/lib/pipeops-agent/services/" + strings.TrimSuffix(unit, ".service") + ".json"; s.has(p) {
		return p
	}
	return ""
}

// listens tells whether a captured machine has somebody on a port whose name it does not give.
func listens(s *System, port int) bool {
	return slices.ContainsFunc(s.Snapshot().Listening, func(l Listener) bool { return l.Proto == "tcp" && l.Port == port && l.Owner == "" })
}
