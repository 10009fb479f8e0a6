package distro

// k3d is k3s in Docker.
func k3d() Distribution {
	return Distribution{
		Name:  K3d,
		Title: "k3s in Docker",
		// documentation of k3d: Docker 20.10.5, with runc 1.0.0-rc93
		Requirements: containers{name: K3d, memory: k3dMemory, memoryWarn: k3dMemoryWarn, disk: k3dDisk, diskWarn: k3dDiskWarn, engine: version{20, 10, 5}}.requirements(),
		Kubeconfig:   at(""),
	}
}
