package distro

import (
	"fmt"
	"path"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/pipeopshq/pipeops-agent/internal/host"
)

// What follows of minikube's driver none is as its version 1.37.0 has it (k8s.io/minikube@v1.37.0: pkg/drivers/none,
// pkg/minikube/{machine,node,cruntime,cni,bootstrapper} and its page of the driver). The runtime is Docker by cri-dockerd, which is
// what minikube uses here unless told otherwise, what it tests, and what its stop asks whatever it was told.
const (
	minikubeNonePort   = 8443
	minikubeNoneData   = "/var/lib/minikube"
	minikubeNoneBridge = "bridge" // in which its plugin of CNI lets the links of pods end
	// minikubeNoneVolumes is where it keeps the volumes of pods that ask for no other.
	minikubeNoneVolumes = "/tmp/hostpath-provisioner"

	kubeletUnit   = "kubelet.service"
	criDockerUnit = "cri-docker.service"
	criSocketUnit = "cri-docker.socket"
	dockerSockets = "docker.socket"
)

// minikubeNone is Kubernetes by kubeadm on the machine itself, as minikube's driver none makes it. It is never chosen unless minikube
// was asked for by name, and with it this driver.
func minikubeNone() Distribution {
	return Distribution{
		Name:         Minikube,
		Title:        "minikube, with the driver none, on the machine itself",
		Requirements: minikubeNoneRequirements(),
		Steps:        minikubeNoneSteps,
		Kubeconfig:   at(minikubeNoneNode().kubeconfigFile()),
	}
}

// minikubeNoneTarget is the name of the cluster in the ledger: minikube lets it have no other than its own.
func minikubeNoneTarget() string { return host.ContainerCluster(Minikube, host.MinikubeProfile) }

// madeByNone reports whether an install has made, or begun to make, the cluster of minikube with the driver none.
func (in Install) madeByNone(name string) bool {
	return name == Minikube && in.recorded(minikubeNoneTarget())
}

// minikubeNoneNode is how minikube is called for it: by root, since it changes the machine.
func minikubeNoneNode() nodeContainers {
	return nodeContainers{
		name: Minikube, version: MinikubeVersion,
		about:  900 << 20, // the program, kubelet, kubeadm and kubectl, and the images of Kubernetes, which minikube itself fetches
		images: func(Install) []nodeImage { return nil },
		config: minikubeNoneConfig, port: minikubePort,
		env: func(in Install) []string {
			return append(minikubeEnv(in), "MINIKUBE_WANTNONEDRIVERWARNING=false")
		},
		arguments: minikubeArgs, kubeconfigCopy: minikubeKubeconfig,
		home: minikubeHome, single: true,
	}
}

// minikubeNoneConfig writes down with which arguments minikube starts, which are the same each time.
func minikubeNoneConfig(in Install, port int) ([]byte, error) {
	args := append([]string{
		"start", "--profile=" + host.MinikubeProfile, "--driver=" + MinikubeNone, "--container-runtime=docker",
		"--kubernetes-version=" + kubernetesOf(MinikubeKubernetes)(in.Version), fmt.Sprintf("--apiserver-port=%d", port),
		"--interactive=false", "--embed-certs", "--wait=apiserver", "--auto-update-drivers=false",
	}, minikubeMore(in)...)
	return yaml.Marshal(minikubeFile{Profile: host.MinikubeProfile, APIPort: port, Start: args})
}

// minikubeNoneTrees are the folders that such a node fills and nobody else. Those above come first.
func minikubeNoneTrees() []string {
	return []string{
		minikubeNoneData, "/var/tmp/minikube", "/etc/kubernetes", "/var/lib/kubelet",
		"/var/lib/cni/networks/" + minikubeNoneBridge, "/var/lib/cni/cache", "/var/lib/cri-dockerd",
		"/var/log/pods", "/var/log/containers",
		minikubeNoneVolumes, "/tmp/hostpath_pv", "/tmp/gvisor",
		path.Dir(kubeletDropIn), path.Dir(criDropIn),
	}
}

// The single files that minikube writes.
const (
	kubeletFile   = "/lib/systemd/system/" + kubeletUnit
	kubeletDropIn = "/etc/systemd/system/" + kubeletUnit + ".d/10-kubeadm.conf"
	criDropIn     = "/etc/systemd/system/" + criDockerUnit + ".d/10-cni.conf"
	minikubeCA    = "minikubeCA.pem"
)

// minikubeNoneFiles are those that are minikube's alone: that of one that was there before would be the end, so that a machine which
// has it is refused.
func minikubeNoneFiles() []string {
	return []string{
		kubeletFile, host.CNINetworks + "/1-k8s.conflist", "/usr/share/ca-certificates/" + minikubeCA, certificates + "/" + minikubeCA,
	}
}

// minikubeNoneShared are those that others write, too: it writes over the first and the last, and changes lines of the other.
func minikubeNoneShared() []string {
	return []string{"/etc/docker/daemon.json", "/etc/containerd/config.toml", "/etc/crictl.yaml"}
}

// minikubeNoneFolders are those of them that may be missing, which go when they are empty again.
func minikubeNoneFolders() []string {
	return []string{"/etc/docker", host.CNINetworks, "/usr/share/ca-certificates", certificates}
}

const (
	certificates = "/etc/ssl/certs"
	hostsFile    = "/etc/hosts"
)

// minikubeNames are those that it gives to this machine in /etc/hosts.
func minikubeNames() []string {
	return []string{"control-plane.minikube.internal", "host.minikube.internal"}
}

// minikubeImage tells whether an image is one that Kubernetes and minikube's own addons are made of.
func minikubeImage(ref string) bool {
	return strings.HasPrefix(ref, "registry.k8s.io/") || strings.HasPrefix(ref, "gcr.io/k8s-minikube/")
}
