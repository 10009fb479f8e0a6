package distro

import (
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// The ids of the remedies. What their Values hold stands behind each.
const (
	RemedyOOMScore       = "containerd-restrict-oom-score-adj" // none: containerd leaves the oom_score_adj of containers alone where nobody may lower it
	RemedyFlannelBackend = "flannel-backend"                   // "host-gw"
	RemedyCIDR           = "cidr"                              // network of the pods, network of the services
	RemedyKubeletArg     = "kubelet-arg"                       // name=value, ...
	RemedyKubeProxyArg   = "kube-proxy-arg"                    // name=value, ...
	RemedySnapshotter    = "snapshotter"                       // "native" or "fuse-overlayfs"
	RemedyResolvConf     = "resolv-conf"                       // addresses of name servers
	RemedyNodeName       = "node-name"                         // the name
	RemedyClusterInit    = "cluster-init"                      // none: k3s keeps its state in etcd
	RemedyBinaryDir      = "binary-dir"                        // "/opt/bin"
	RemedyDataDir        = "data-dir"                          // the folder
	RemedyBundledTools   = "prefer-bundled-bin"                // none: the iptables that k3s brings comes before the machine's
	RemedyDisable        = "disable"                           // parts of k3s that are left out
	RemedySysctl         = "sysctl"                            // name=value, ...: raised, now and at every boot
	RemedyModules        = "modules"                           // names: loaded, now and at every boot
	RemedySharedRoot     = "shared-root"                       // none: "/" is made a shared mount before k3s starts
	RemedyUFW            = "ufw"                               // networks whose packets are let in
	RemedyFirewalld      = "firewalld"                         // networks that are put into the zone trusted
	RemedyAcceptRules    = "accept-before-reject"              // networks that are accepted before rules that reject
	RemedyNetManager     = "networkmanager-unmanaged"          // none: NetworkManager leaves the interfaces of pods alone
	RemedyServiceOff     = "service-off"                       // units that are stopped and disabled
	RemedyPackage        = "package"                           // names of packages, for the machine's own package manager
	RemedyKernelCmdline  = "kernel-cmdline"                    // path of a one-line file, then the words that are appended to its line
	RemedyEngineStart    = "engine-start"                      // the unit of a container engine, which is enabled and started
	RemedyOpenRCCgroups  = "openrc-cgroups"                    // none: the service cgroups is enabled, with the unified hierarchy
)

// Remedy is a change, beyond the usual steps, that makes a distribution work on this machine. Those that cost nothing, or a
// sysctl, are applied by an install; the others only with the user's consent.
type Remedy struct {
	ID       string       `json:"id"`
	Code     reason.Code  `json:"code"`
	Title    string       `json:"title"` // what is done: "flannel routes directly (host-gw)"
	Evidence string       `json:"evidence"`
	Where    reason.Where `json:"where"`
	Cost     reason.Cost  `json:"cost"`
	Values   []string     `json:"values,omitzero"` // what it is applied with; see the ids
	Risk     string       `json:"risk,omitzero"`   // what else it may do; "" is nothing that we know of
}

// Patch is what has to be changed outside this machine, ready to be pasted there.
type Patch struct {
	Host  string      `json:"host"` // where: "Proxmox VE", "LXD or Incus", "Windows PowerShell", "Docker host"
	Lines []PatchLine `json:"lines"`
}

// PatchLine is one line of a patch.
type PatchLine struct {
	Text string `json:"text"`          // a command, or a line of a file
	File string `json:"file,omitzero"` // the file that the line goes into; "" is a command
	Risk string `json:"risk"`          // what the line gives away; never empty
}

// remedy makes a remedy that an install applies by itself, with code and evidence of the requirement that asks for it.
func remedy(id, title string, values ...string) Remedy {
	return Remedy{ID: id, Title: title, Where: reason.Here, Cost: reason.CostNone, Values: values}
}

// costing returns the remedy with its cost.
func (r Remedy) costing(cost reason.Cost) Remedy {
	r.Cost = cost
	return r
}

// risking returns the remedy with what else it may do.
func (r Remedy) risking(risk string) Remedy {
	r.Risk = risk
	return r
}

// of returns the remedy with what the finding that asks for it says.
func (r Remedy) of(q Requirement, f Finding) Remedy {
	r.Code, r.Evidence = q.Code, f.Evidence
	if f.Code != "" {
		r.Code = f.Code
	}
	return r
}

// merged joins remedies of one id, in the order of their first appearance: a sysctl that two requirements ask for is set once.
func merged(all []Remedy) []Remedy {
	var out []Remedy
	for _, r := range all {
		i := slices.IndexFunc(out, func(o Remedy) bool { return o.ID == r.ID })
		if i < 0 {
			r.Values = slices.Clone(r.Values)
			out = append(out, r)
			continue
		}
		for _, v := range r.Values {
			if !slices.Contains(out[i].Values, v) {
				out[i].Values = append(out[i].Values, v)
			}
		}
		if slices.Index(costs(), r.Cost) > slices.Index(costs(), out[i].Cost) {
			out[i].Cost = r.Cost
		}
		if !strings.Contains(out[i].Evidence, r.Evidence) {
			out[i].Evidence += "; " + r.Evidence
		}
		if !strings.Contains(out[i].Title, r.Title) {
			out[i].Title += "; " + r.Title
		}
	}
	return out
}
