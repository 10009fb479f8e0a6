package distro

// minikube is Kubernetes for a desktop, here with its docker driver.
func minikube() Distribution {
	return Distribution{
		Name:  Minikube,
		Title: "minikube, with the docker driver",
		// minikube refuses Docker before 18.09
		Requirements: containers{name: Minikube, memory: minikubeMemory, memoryWarn: minikubeMemoryWarn, disk: minikubeDisk, diskWarn: minikubeDiskWarn, engine: version{18, 9, 0}, proxy: true}.requirements(),
		Kubeconfig:   at(""),
	}
}
