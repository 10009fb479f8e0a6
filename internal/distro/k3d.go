package distro

// k3d is k3s in Docker.
func k3d() Distribution {
	return Distribution{
		Name:         K3d,
		Title:        "k3s in Docker",
		Requirements: inDocker(k3dMemory),
		Kubeconfig:   at(""),
	}
}
