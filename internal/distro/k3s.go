package distro

// k3s runs on the machine itself.
func k3s() Distribution {
	return Distribution{
		Name:  K3s,
		Title: "k3s, on the machine itself",
		Requirements: []Requirement{
			linux(),
			root(),
			wsl1(),
			openvz(),
			foreignCluster(),
			debris(),
			nesting(),
			architecture(),
			kernel(),
			systemd(),
			cgroupVersion(),
			cgroupControllers(),
			cpus(k3sCPUs),
			memory(k3sMemory),
			diskType(),
			overlay(),
			diskFree(),
			writable(),
			ports(k3sPorts()),
			cpusAdvised(k3sCPUsWarn),
			memoryAdvised(k3sMemoryWarn, "there is no room for monitoring"),
			diskAdvised(),
		},
		Steps:      k3sSteps,
		Kubeconfig: at("/etc/rancher/k3s/k3s.yaml"),
	}
}
