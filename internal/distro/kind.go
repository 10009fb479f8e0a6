package distro

// kind is upstream Kubernetes in Docker or Podman.
func kind() Distribution {
	return Distribution{
		Name:  Kind,
		Title: "Kubernetes in containers (kind)",
		// documentation of kind: Docker 20.10, Podman 3
		Requirements: containers{name: Kind, memory: kindMemory, memoryWarn: kindMemoryWarn, disk: kindDisk, diskWarn: kindDiskWarn, engine: version{20, 10, 0}, podman: true, proxy: true}.requirements(),
		Kubeconfig:   at(""),
	}
}
