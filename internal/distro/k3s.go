package distro

// k3s runs on the machine itself.
func k3s() Distribution {
	return Distribution{
		Name:  K3s,
		Title: "k3s, on the machine itself",
		Requirements: []Requirement{
			linux(),
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
			root(),
			cpus(k3sCPUs),
			memory(k3sMemory),
			diskType(),
			overlay(),
			diskFree(),
			writable(),
			ports(k3sPorts()),
			tight(cpus(k3sCPUsWarn), "cpus-comfortable", "k3s asks for two"),
			tight(memory(k3sMemoryWarn), "memory-comfortable", "there is no room for monitoring"),
			diskTight(),
		},
		Steps:      k3sSteps,
		Kubeconfig: at("/etc/rancher/k3s/k3s.yaml"),
	}
}
