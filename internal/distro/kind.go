package distro

// kind is Kubernetes in Docker.
func kind() Distribution {
	return Distribution{
		Name:         Kind,
		Title:        "Kubernetes in Docker",
		Requirements: inDocker(kindMemory),
		Kubeconfig:   at(""),
	}
}
