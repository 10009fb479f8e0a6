package host

import (
	"slices"
)

const (
	// MinikubeProfile is the only name that minikube lets a cluster have by its driver none.
	MinikubeProfile = "minikube"
	// minikubeBareData is where such a node keeps its data, minikubeBarePort where its API listens unless it was told otherwise.
	minikubeBareData = "/var/lib/minikube"
	minikubeBarePort = 8443
)

// withBareMinikube calls a node that kubeadm has made here minikube's, where minikube has called kubeadm: by its driver none.
func withBareMinikube(s *System, all []Cluster) []Cluster {
	i := slices.IndexFunc(all, func(c Cluster) bool { return c.Name == "kubeadm" })
	made := remains(s, minikubeBareData)
	changed, seen := readLedger(s)
	target := ContainerCluster("minikube", MinikubeProfile)
	if i < 0 && !changed[target] || i >= 0 && len(made) == 0 {
		return all
	}
	c := Cluster{State: Unfinished, Role: "server"} // ours was begun, and nothing of it is there yet
	if i >= 0 {
		c = all[i]
		all = slices.Delete(all, i, i+1)
	}
	c.Name, c.Cluster, c.Port = "minikube", MinikubeProfile, minikubeBarePort
	c.Evidence = append(c.Evidence, made...)
	c.Ours = Known[bool]{}
	if seen {
		c.Ours = Is(changed[target])
	}
	if c.Ours.Value && unitFile(s, ClusterUnit) != "" {
		c.Unit = ClusterUnit
	}
	return append(all, c)
}
