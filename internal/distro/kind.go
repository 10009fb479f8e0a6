package distro

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// KindVersion is the version of kind that makes the clusters.
const KindVersion = "v0.33.0"

// What a kind cluster runs unless another version is asked for: the image that this kind names as its default, with the digest of
// its list for all architectures (sigs.k8s.io/kind@v0.33.0, pkg/apis/config/defaults).
const (
	KindKubernetes  = "v1.37.0"
	kindNodeDigest  = "a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5"
	kindNetwork     = "kind-" + ClusterName
	kindBalancer    = "envoyproxy/envoy" // before several nodes that serve the API (pkg/cluster/internal/loadbalancer)
	kindBalancerTag = "v1.36.2"
)

// kind is upstream Kubernetes in Docker or Podman.
func kind() Distribution {
	return Distribution{
		Name:  Kind,
		Title: "Kubernetes in containers (kind)",
		// documentation of kind: Docker 20.10, Podman 3
		Requirements: containers{
			name: Kind, memory: kindMemory, memoryWarn: kindMemoryWarn, disk: kindDisk, diskWarn: kindDiskWarn,
			engine: version{20, 10, 0}, podman: true, proxy: true, command: true, kubernetes: kubernetesOf(KindKubernetes),
		}.requirements(),
		Steps:      kindNodes().steps,
		Kubeconfig: at(kindNodes().kubeconfigFile()),
	}
}

// kindNodes is how kind makes nodes.
//
// kind gives each node whatever address the engine has free, and lets the engine start nodes again by themselves, in any order:
// after a reboot, nodes that know each other by their addresses no longer find each other (kind #2045, #3071). So the nodes are in
// a network of ours, in which each keeps the address that it was made with, and nobody but us starts them. What else an address
// is written into, the certificate and the static pods, the entrypoint of the nodes mends; names of containers the engine
// resolves, and CoreDNS asks the engine by the address of the network's gateway, which stays too.
func kindNodes() nodeContainers {
	return nodeContainers{
		name: Kind, version: KindVersion,
		images: kindImages, config: kindConfig, port: kindPort,
		env: func(in Install) []string {
			home := filepath.Join(in.Dir, "home")
			return []string{
				// never that of a user, which an environment that is passed on may name
				"KUBECONFIG=" + filepath.Join(home, "kubeconfig-kind"), "DOCKER_CONFIG=" + filepath.Join(home, ".docker"),
				"KIND_EXPERIMENTAL_PROVIDER=docker", "KIND_EXPERIMENTAL_DOCKER_NETWORK=" + kindNetwork,
			}
		},
		create:     func(file string) []string { return []string{"create", "cluster", "--config", file} },
		kubeconfig: func() []string { return []string{"get", "kubeconfig", "--name", ClusterName} },
		label:      "io.x-k8s.kind.cluster", role: "io.x-k8s.kind.role",
		order:  []string{"control-plane", "worker", "external-load-balancer"},
		server: "control-plane", worker: "worker", apiPort: "6443/tcp",
		networks: []string{kindNetwork}, fixed: kindNetwork, mounts: []string{modulesFolder},
	}
}

// kubernetesOf picks the version of Kubernetes: one that names k3s is not meant.
func kubernetesOf(usual string) func(asked string) string {
	return func(asked string) string {
		if asked == "" || strings.Contains(asked, "+k3s") {
			return usual
		}
		return asked
	}
}

// kindImage is the image of the nodes.
func kindImage(in Install) nodeImage {
	v := kubernetesOf(KindKubernetes)(in.Version)
	i := nodeImage{ref: "kindest/node:" + v, version: v, role: "node-image"}
	if v == KindKubernetes {
		i.sha256 = kindNodeDigest
	}
	return i
}

// kindImages lists the image of the nodes, and that of the balancer which several servers have before them.
func kindImages(in Install) []nodeImage {
	all := []nodeImage{kindImage(in)}
	if in.servers() > 1 {
		all = append(all, nodeImage{ref: kindBalancer + ":" + kindBalancerTag, version: KindVersion, role: "proxy-image"})
	}
	return all
}

// kindFile is the configuration file of kind: kind.x-k8s.io/v1alpha4, kind Cluster.
type kindFile struct {
	Kind       string         `json:"kind"`
	APIVersion string         `json:"apiVersion"`
	Name       string         `json:"name"`
	Networking kindNetworking `json:"networking"`
	Nodes      []kindNode     `json:"nodes"`
	Patches    []string       `json:"kubeadmConfigPatches,omitempty"`
}

type kindNetworking struct {
	APIServerAddress string `json:"apiServerAddress"`
	APIServerPort    int    `json:"apiServerPort"`
}

type kindNode struct {
	Role  string `json:"role"`
	Image string `json:"image"`
}

// kindConfig writes the file. The API is published to this machine only, unless the certificate is wanted for more names: then
// somebody means to reach it from elsewhere.
func kindConfig(in Install, port int) ([]byte, error) {
	f := kindFile{Kind: "Cluster", APIVersion: "kind.x-k8s.io/v1alpha4", Name: ClusterName, Networking: kindNetworking{"127.0.0.1", port}}
	image := kindImage(in).ref
	for range in.servers() {
		f.Nodes = append(f.Nodes, kindNode{"control-plane", image})
	}
	for range in.Workers {
		f.Nodes = append(f.Nodes, kindNode{"worker", image})
	}
	if len(in.TLSNames) > 0 {
		f.Networking.APIServerAddress = "0.0.0.0"
		// a list of a patch takes the place of the one of kind, which names these two
		names := append([]string{"localhost", "127.0.0.1"}, in.TLSNames...)
		patch, err := yaml.Marshal(map[string]any{"kind": "ClusterConfiguration", "apiServer": map[string]any{"certSANs": names}})
		if err != nil {
			return nil, err
		}
		f.Patches = append(f.Patches, string(patch))
	}
	if len(in.KubeletArgs) > 0 {
		settings := map[string]any{"kind": "KubeletConfiguration"}
		for _, arg := range in.KubeletArgs {
			name, value, err := kubeletSetting(arg)
			if err != nil {
				return nil, err
			}
			settings[name] = value
		}
		patch, err := yaml.Marshal(settings)
		if err != nil {
			return nil, err
		}
		f.Patches = append(f.Patches, string(patch))
	}
	return yaml.Marshal(f)
}

// kubeletSetting is what an argument of the kubelet is called in its configuration file. Those that a decision may ask for are known.
func kubeletSetting(arg string) (name string, value any, err error) {
	flag, text, _ := strings.Cut(arg, "=")
	switch flag {
	case "fail-cgroupv1":
		value, err = strconv.ParseBool(text)
		return "failCgroupV1", value, err
	case "feature-gates":
		gate, on, _ := strings.Cut(text, "=")
		is, err := strconv.ParseBool(on)
		return "featureGates", map[string]bool{gate: is}, err
	case "volume-plugin-dir":
		return "volumePluginDir", text, nil
	}
	return "", nil, fmt.Errorf("cannot tell the kubelet %q: nobody knows what it is called in its configuration", arg)
}

// kindPort reads the port of the API out of the file; 0 if it has none.
func kindPort(config []byte) int {
	var f kindFile
	if yaml.Unmarshal(config, &f) != nil || f.Networking.APIServerPort < 0 || f.Networking.APIServerPort > 65535 {
		return 0
	}
	return f.Networking.APIServerPort
}
