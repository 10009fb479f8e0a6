package distro

import "slices"

// k3s runs on the machine itself.
func k3s() Distribution {
	return Distribution{
		Name:  K3s,
		Title: "k3s, on the machine itself",
		Requirements: slices.Concat(
			[]Requirement{linux(), root(), wsl1(), openvz(), single(K3s), foreignCluster(), ownCluster(), debris(), datastore()},
			systemOfNode(),
			[]Requirement{
				memory(k3sMemory),
				memoryOfEtcd(),
				dataPlace(),
				diskType(),
				diskFree(onMachine),
				writable(),
				diskOfEtcd(),
				ports(k3sPorts()),
				portsOfEtcd(),
				portOfVxlan(),
			},
			kernelOfNode(),
			[]Requirement{
				shared(lasting(vxlan(), RemedyFlannelBackend, "flannel-backend")),
				shared(lasting(cidr(), RemedyCIDR, "cluster-cidr", "service-cidr")),
			},
			networkOfNode(),
			[]Requirement{
				webPorts(),
				inotify(),
				keyring(),
				// from here on it is only said
				cpusAdvised(k3sCPUsWarn),
				memoryAdvised(k3sMemoryWarn, "there is no room for monitoring"),
				diskAdvised(onMachineAdvised),
				diskSlow(),
				diskSlowForEtcd(),
			},
			adviceOfNode(),
		),
		Steps:      k3sSteps,
		Kubeconfig: at(k3sKubeconfig),
	}
}

// k3sWorker is a node of a k3s cluster that is there: it runs pods, and no part of the control plane. It is chosen by a join only.
func k3sWorker() Distribution {
	return Distribution{
		Name:  K3s,
		Title: "k3s worker, on the machine itself",
		Requirements: slices.Concat(
			[]Requirement{linux(), root(), wsl1(), openvz(), foreignCluster(), ownCluster(), debris()},
			systemOfNode(),
			[]Requirement{
				memory(workerMemory),
				dataPlace(),
				diskType(),
				diskFree(onWorker),
				writable(),
				ports(workerPorts()),
				portOfVxlan(),
			},
			kernelOfNode(),
			[]Requirement{shared(vxlan()), shared(cidr())},
			networkOfNode(),
			[]Requirement{
				inotify(),
				keyring(),
				// from here on it is only said
				memoryAdvised(workerMemoryWarn, "there is no room for much"),
				diskAdvised(onMachineAdvised),
			},
			adviceOfNode(),
		),
		Steps:      k3sSteps,
		Kubeconfig: func(Case) string { return "" }, // see [WorkerKubeconfig]
	}
}

// What follows is the same for every node of k3s.

// systemOfNode is what the machine must be.
func systemOfNode() []Requirement {
	return []Requirement{
		declared(),
		nesting(),
		architecture(),
		kernel(),
		modulesGone(),
		initSystem(),
		cgroupVersion(),
		cgroupControllers(),
		cpus(k3sCPUs),
	}
}

// kernelOfNode is what its kernel must do, and then what an install or a join sees to.
func kernelOfNode() []Requirement {
	return []Requirement{
		namespaces(),
		netfilter(),
		route(),
		clock(),
		cloudSetup(false),
		desktop(),
		lasting(overlay(), RemedySnapshotter, "snapshotter"),
		modulesLoaded(),
		oomScore(),
		userNamespace(),
		sharedRoot(),
	}
}

// networkOfNode is what an install or a join sees to so that pods reach each other and are told names.
func networkOfNode() []Requirement {
	return []Requirement{
		firewall(),
		networkManager(),
		bundledTools(),
		dns(),
		lasting(nodeName(), RemedyNodeName, "node-name"),
	}
}

// adviceOfNode is only said.
func adviceOfNode() []Requirement {
	return []Requirement{
		cgroupAdvised(),
		clockAdvised(),
		selinux(),
		cloudSetup(true),
		families(),
		mtu(),
		proxied(),
		cpuLevel(),
		pidsLimit(),
		entropy(),
		wslIdle(),
		pageSize(),
		portable(),
		panel(),
		packagesBusy(),
		untested(),
	}
}
