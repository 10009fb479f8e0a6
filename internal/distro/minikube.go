package distro

// minikube is minikube with its docker driver.
func minikube() Distribution {
	return Distribution{
		Name:         Minikube,
		Title:        "minikube with its docker driver",
		Requirements: inDocker(minikubeMemory),
		Kubeconfig:   at(""),
	}
}
