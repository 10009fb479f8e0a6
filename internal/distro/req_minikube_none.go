package distro

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// minikubeNoneRequirements lists what minikube's driver none needs of a machine. Unlike the other drivers it brings no node, but calls
// kubeadm here, with what is installed here, and writes over what is in its way.
func minikubeNoneRequirements() []Requirement {
	k := containers{
		name: Minikube, memory: minikubeNoneMemory, memoryWarn: minikubeMemoryWarn, disk: minikubeDisk, diskWarn: minikubeDiskWarn,
		engine: version{18, 9, 0}, kubernetes: kubernetesOf(MinikubeKubernetes),
	}
	all := []Requirement{
		linux(), root(), wsl1(), openvz(), single(Minikube), minikubeDriver(MinikubeNone), minikubeNoneNamed(),
		foreignCluster(), debris(), minikubeNoneSystemd(), minikubeNoneMachine(), declared(), architecture(),
		k.reachable(), machineEngine(), k.recent(),
	}
	for _, p := range minikubeNonePrograms() {
		all = append(all, p.needed())
	}
	return append(all,
		minikubeNoneUnits(), minikubeNonePlugins(), minikubeNoneKubelet(), minikubeNoneNetworks(), minikubeNoneEngine(), minikubeNonePermissive(),
		minikubeNonePorts(),
		k.running(kernel()), modulesGone(), k.running(cgroupVersion()), cgroupControllers(),
		cpus(dockerCPUs), memory(k.memory), diskFree(onMinikubeNone), writable(),
		namespaces(), netfilter(), route(), minikubeNoneCIDR(), minikubeNoneFirewall(), clock(), modulesLoaded(), inotify(), keyring(),
		// from here on it is only said
		memoryAdvised(k.memoryWarn, "pods are short of it"), k.running(cgroupAdvised()), minikubeNoneKept(), untested(), swarm(), panel(), portable(),
	)
}

// minikubeNoneNamed lets the driver be used only where minikube was asked for by name.
func minikubeNoneNamed() Requirement {
	return Requirement{Name: "minikube-none-named", Code: reason.MinikubeNone, Judge: func(c Case) Finding {
		if c.Request.named(Minikube) {
			return met()
		}
		return unmet("the driver none was asked for, which makes the machine itself a node, and minikube was not", "--distro minikube").
			fixed("ask for both: --distro minikube --minikube-driver none; or leave the driver out")
	}}
}

// minikubeNoneSystemd needs systemd. minikube writes a shim for OpenRC, too, which nobody tests.
func minikubeNoneSystemd() Requirement {
	return Requirement{Name: "minikube-none-systemd", Code: reason.HostNoSystemd, Judge: func(c Case) Finding {
		on, ok := c.Facts.Init.Systemd.Get()
		switch {
		case !ok:
			return unknown()
		case on:
			return met()
		}
		return unmet("minikube's driver none starts the kubelet by systemd, and pid 1 is "+cmp.Or(c.Facts.Init.Name, "another program"), "systemd as the init system").
			fixed("take a machine with systemd; or choose --distro k3s, or --minikube-driver docker")
	}}
}

// minikubeNoneMachine needs a machine, not a container.
func minikubeNoneMachine() Requirement {
	return Requirement{Name: "minikube-none-machine", Code: reason.MinikubeNone, Judge: func(c Case) Finding {
		if !c.inside() {
			return met()
		}
		return unmet("this is a container, in which kubeadm finds neither modules nor values of the kernel to set", "a machine that is no container").
			fixed("choose --distro k3s, which knows how to do without them")
	}}
}

// minikubeProgram is a program that minikube calls, or that the kubelet does, and that the driver none does not bring.
type minikubeProgram struct {
	name, what string
	from       string // where it is to be had
}

// minikubeNonePrograms lists them. minikube's start itself looks for conntrack, crictl, docker, dockerd and cri-dockerd
// (validateBareMetal in cmd/minikube/cmd/start.go, pkg/minikube/machine/start.go), for iptables when it judges the driver, and calls
// all else by sudo, as root too.
func minikubeNonePrograms() []minikubeProgram {
	return []minikubeProgram{
		{"conntrack", "by which kube-proxy forgets connections", "the package conntrack (Debian, Ubuntu), conntrack-tools (others)"},
		{"crictl", "by which minikube asks the runtime", "the package cri-tools, or https://github.com/kubernetes-sigs/cri-tools; where sudo finds it, such as /usr/bin"},
		{"dockerd", "which runs the containers", "Docker's packages"},
		{"docker", "by which minikube asks Docker", "the package docker-cli or docker-ce-cli"},
		{"cri-dockerd", "by which the kubelet asks Docker", "https://github.com/Mirantis/cri-dockerd, as a package, with its units"},
		{"iptables", "by which kube-proxy makes its rules", "the package iptables"},
		{"sudo", "by which minikube calls everything, as root too", "the package sudo"},
	}
}

func (p minikubeProgram) needed() Requirement {
	return Requirement{Name: "minikube-none-" + p.name, Code: reason.MinikubeNone, Judge: func(c Case) Finding {
		if c.Facts.Commands == nil {
			return unknown()
		}
		if _, ok := c.Facts.Commands[p.name]; ok {
			return met()
		}
		return unmet("there is no "+p.name+", "+p.what, "the program "+p.name).fixed("install it: " + p.from)
	}}
}

// minikubeNoneUnits needs what starts cri-dockerd.
func minikubeNoneUnits() Requirement {
	return Requirement{Name: "minikube-none-units", Code: reason.MinikubeNone, Judge: func(c Case) Finding {
		is, ok := c.Facts.BareNode.CRIDocker.Get()
		switch {
		case !ok:
			return unknown()
		case is:
			return met()
		}
		return unmet(fmt.Sprintf("%s and %s, which minikube starts, are not both there", criSocketUnit, criDockerUnit), "the units of cri-dockerd").
			fixed("install cri-dockerd as a package, or its files of packaging/systemd: https://github.com/Mirantis/cri-dockerd")
	}}
}

// minikubeNonePlugins needs the plugins of CNI that minikube's network of pods is made by.
func minikubeNonePlugins() Requirement {
	return Requirement{Name: "minikube-none-plugins", Code: reason.MinikubeNone, Judge: func(c Case) Finding {
		var missing []string
		for _, name := range host.BarePlugins() {
			if !slices.Contains(c.Facts.BareNode.Plugins, name) {
				missing = append(missing, name)
			}
		}
		if len(missing) == 0 || !c.Facts.BareNode.CRIDocker.OK { // nobody has looked
			return met()
		}
		return unmet(fmt.Sprintf("%s lacks the CNI plugins %s", host.CNIPlugins, strings.Join(missing, ", ")), "the plugins of CNI in "+host.CNIPlugins).
			fixed("install them there: https://github.com/containernetworking/plugins/releases; a package has them elsewhere (Debian: /usr/lib/cni), from where they can be linked")
	}}
}

// madeNone reports whether what is in the way is ours.
func (c Case) madeNone() bool { return madeDriver(c.Facts) == MinikubeNone }

// minikubeNoneKubelet leaves a kubelet of somebody else's alone, whose unit minikube would write over.
func minikubeNoneKubelet() Requirement {
	return Requirement{Name: "minikube-none-kubelet", Code: reason.MinikubeNone, Judge: func(c Case) Finding {
		at, there := c.Facts.Commands["kubelet"]
		if !there || c.madeNone() {
			return met()
		}
		return unmet("a kubelet is installed, "+at+", whose unit minikube would write over", "no kubelet of somebody else's").
			fixed("remove its package, kubelet, for minikube brings one; or choose --minikube-driver docker")
	}}
}

// minikubeNoneNetworks leaves networks of CNI of somebody else's alone: minikube puts those of podman and of bridges out of the way, and
// of others the first by name is the one that pods get.
func minikubeNoneNetworks() Requirement {
	return Requirement{Name: "minikube-none-networks", Code: reason.MinikubeNone, Judge: func(c Case) Finding {
		found := c.Facts.BareNode.Networks
		if len(found) == 0 || c.madeNone() {
			return met()
		}
		return unmet("CNI has a network of somebody else's, "+strings.Join(found, ", ")+", which minikube would take out of use, or pods would get", "no file in "+host.CNINetworks).
			fixed("move it away, if nobody needs it; or choose --minikube-driver docker")
	}}
}

// minikubeNoneEngine leaves the settings of Docker alone: minikube writes over the whole of them, data-root and all, and starts it anew.
func minikubeNoneEngine() Requirement {
	return Requirement{Name: "minikube-none-engine", Code: reason.MinikubeNone, Judge: func(c Case) Finding {
		d := c.Facts.Docker
		switch {
		case d.Desktop.Value, d.Outside.Value, d.Rootless.Value:
			return unmet("the engine is not one that root runs on this machine, by whose containers the machine could be a node", "a Docker of this machine").
				fixed("install Docker from packages; or choose --minikube-driver docker")
		case c.madeNone():
			return met()
		case c.Facts.BareNode.EngineConfig.Value:
			return unmet("Docker has settings of its own, /etc/docker/daemon.json, which minikube would write over", "no /etc/docker/daemon.json").
				fixed("give them to dockerd by its arguments, in a drop-in of docker.service, and move the file away; or choose --minikube-driver docker")
		}
		return met()
	}}
}

// minikubeNonePermissive needs that SELinux does not confine pods: minikube brings no policy (its page of the driver).
func minikubeNonePermissive() Requirement {
	return Requirement{Name: "minikube-none-selinux", Code: reason.HostSELinux, Judge: func(c Case) Finding {
		switch c.Facts.LSM.SELinux {
		case "":
			return unknown()
		case "enforcing":
			return unmet("SELinux is enforcing, and minikube has no policy for its driver none", "SELinux permissive").
				fixed("choose --distro k3s; or make SELinux permissive: setenforce 0, and SELINUX=permissive in /etc/selinux/config")
		}
		return met()
	}}
}

// minikubeNonePorts needs the ports of Kubernetes, unless it is our node that holds them.
func minikubeNonePorts() Requirement {
	return Requirement{Name: "minikube-none-ports", Code: reason.NetPortTaken, Judge: func(c Case) Finding {
		if c.madeNone() {
			return met()
		}
		if c.Facts.Listening == nil || len(foreign(c.Facts, host.Running)) > 0 {
			return unknown()
		}
		api := minikubeNonePort
		if c.Request.APIPort != 0 {
			api = c.Request.APIPort
		}
		taken := holders(c, false, append([]int{api}, minikubeNoneOwnPorts()...)...)
		if len(taken) == 0 {
			return met()
		}
		f := unmet(strings.Join(taken, ", "), "the ports of Kubernetes free")
		if l, _ := c.Facts.ListenerOn("tcp", api); l.Port != 0 {
			f = f.fixed(otherPort)
		}
		return f
	}}
}

// minikubeNoneNets are the networks of pods and of services, of which minikube has the first built in.
func minikubeNoneNets() networks {
	n, _ := parseNetworks("10.244.0.0/16", "10.96.0.0/12")
	return n
}

// minikubeNoneCIDR needs that no route leads into them: here nothing gives way.
func minikubeNoneCIDR() Requirement {
	return Requirement{Name: "minikube-none-cidr", Code: reason.NetCIDROverlap, Judge: func(c Case) Finding {
		if c.madeNone() {
			return met()
		}
		if c.Facts.Routes == nil {
			return unknown()
		}
		n := minikubeNoneNets()
		for _, r := range c.Facts.Routes {
			to, err := netip.ParsePrefix(r.Destination)
			if err == nil && to.Bits() > 0 && (to.Overlaps(n.pods) || to.Overlaps(n.services)) {
				return unmet(fmt.Sprintf("the route to %s leads to %s, and minikube has %s for pods and %s for services", r.Destination, r.Interface, n.pods, n.services),
					"no route into "+strings.Join(n.values(), " and ")).
					fixed("take that network away; or choose --distro k3s, whose networks give way")
			}
		}
		return met()
	}}
}

// minikubeNoneFirewall needs that firewalls let pods through, which an install sees to.
func minikubeNoneFirewall() Requirement {
	q := firewall()
	judge := q.Judge
	q.Judge = func(c Case) Finding {
		c.Request.Networks = minikubeNoneNets().values()
		return judge(c)
	}
	return q
}

// minikubeNoneKept warns of where volumes lie, and of ports that are open (minikube's page of the driver, "Decreased security" and
// "Persistent storage").
func minikubeNoneKept() Requirement {
	return Requirement{Name: "minikube-none-volumes", Code: reason.MinikubeNone, Advice: true, Judge: func(c Case) Finding {
		return unmet("minikube keeps volumes of pods in "+minikubeNoneVolumes+", which many systems empty at each boot, and listens at all addresses of the machine", "another driver").
			fixed("mount a disk at " + minikubeNoneVolumes + ", and let a firewall close 8443, 10250, 10257 and 10259 to others")
	}}
}

// onMinikubeNone is the room for images and containers in Docker, and for the programs and the database of Kubernetes.
func onMinikubeNone(c Case) []room {
	return []room{{engineRoot(c.Facts), minikubeDisk}, {"/var/lib", minikubeNoneDisk}, {host.StateDir, agentDisk}}
}
