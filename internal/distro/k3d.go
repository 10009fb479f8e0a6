package distro

import (
	"regexp"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// K3dVersion is the version of k3d that makes the clusters.
const K3dVersion = "v5.6.0"

// k3d is k3s in Docker.
func k3d() Distribution {
	return Distribution{
		Name:  K3d,
		Title: "k3s in Docker",
		// documentation of k3d: Docker 20.10.5, with runc 1.0.0-rc93
		Requirements: containers{name: K3d, memory: k3dMemory, memoryWarn: k3dMemoryWarn, disk: k3dDisk, diskWarn: k3dDiskWarn, engine: version{20, 10, 5}}.requirements(),
		Steps:        k3dNodes().steps,
		Kubeconfig:   at(k3dNodes().kubeconfigFile()),
	}
}

// k3dNodes is how k3d makes nodes.
func k3dNodes() nodeContainers {
	return nodeContainers{
		name: K3d, version: K3dVersion,
		images: k3dImages, config: k3dConfig, port: k3dPort,
		env: func(in Install) []string {
			// k3d runs a container of its tools before it makes a cluster, and on Linux asks it nothing: any image will do, and
			// one that is there is not pulled
			return []string{"K3D_IMAGE_TOOLS=" + k3sImage(in.Version)}
		},
		create:     func(file string) []string { return []string{"cluster", "create", "--config", file} },
		kubeconfig: func() []string { return []string{"kubeconfig", "get", ClusterName} },
		addWorker: func(in Install, n int) []string {
			// k3d adds its own prefix and number to the name
			return []string{"node", "create", ClusterName + "-worker" + strconv.Itoa(n), "--cluster", ClusterName, "--role", "agent", "--image", k3sImage(in.Version)}
		},
		workerLine: regexp.MustCompile(`^agents: [0-9]+\n$`),
		label:      "k3d.cluster", role: "k3d.role", order: []string{"server", "agent", "loadbalancer"},
		server: "server", worker: "agent", apiPort: "6443/tcp",
		// the balancer, and workers that are added, would take the address of a server that starts after them
		pinned:   "k3d-" + ClusterName,
		networks: []string{"k3d-" + ClusterName}, volumes: []string{"k3d-" + ClusterName + "-images"},
		repair: k3dRepair,
	}
}

// k3sImage is the image of k3s of this version, as k3s names it.
func k3sImage(version string) string {
	return "rancher/k3s:" + strings.ReplaceAll(version, "+", "-")
}

// k3dImages lists the image of the nodes, and that of the balancer which several servers have before them.
func k3dImages(in Install) []nodeImage {
	all := []nodeImage{{ref: k3sImage(in.Version), version: in.Version, role: "node-image"}}
	if in.servers() > 1 {
		all = append(all, nodeImage{ref: "ghcr.io/k3d-io/k3d-proxy:" + strings.TrimPrefix(K3dVersion, "v"), version: K3dVersion, role: "proxy-image"})
	}
	return all
}

// k3dFile is the configuration file of k3d: k3d.io/v1alpha5, kind Simple.
type k3dFile struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Servers int    `json:"servers"`
	Agents  int    `json:"agents"`
	Image   string `json:"image"`
	// Subnet "auto" lets k3d give each node an address of its own, which it has after a reboot too.
	Subnet  string `json:"subnet"`
	KubeAPI struct {
		HostIP   string `json:"hostIP"`
		HostPort string `json:"hostPort"`
	} `json:"kubeAPI"`
	Options struct {
		K3d struct {
			Wait                bool   `json:"wait"`
			Timeout             string `json:"timeout"`
			DisableLoadbalancer bool   `json:"disableLoadbalancer"`
		} `json:"k3d"`
		K3s struct {
			ExtraArgs []k3dArg `json:"extraArgs,omitempty"`
		} `json:"k3s"`
		Kubeconfig struct {
			UpdateDefaultKubeconfig bool `json:"updateDefaultKubeconfig"`
			SwitchCurrentContext    bool `json:"switchCurrentContext"`
		} `json:"kubeconfig"`
	} `json:"options"`
}

// k3dArg is an argument of k3s for some nodes.
type k3dArg struct {
	Arg         string   `json:"arg"`
	NodeFilters []string `json:"nodeFilters"`
}

// k3dConfig writes the file. The API is published to this machine only, unless the certificate is wanted for more names: then
// somebody means to reach it from elsewhere.
func k3dConfig(in Install, port int) ([]byte, error) {
	f := k3dFile{APIVersion: "k3d.io/v1alpha5", Kind: "Simple", Servers: in.servers(), Agents: in.Workers, Image: k3sImage(in.Version), Subnet: "auto"}
	f.Metadata.Name = ClusterName
	f.KubeAPI.HostIP, f.KubeAPI.HostPort = "127.0.0.1", strconv.Itoa(port)
	if len(in.TLSNames) > 0 {
		f.KubeAPI.HostIP = "0.0.0.0"
	}
	f.Options.K3d.Wait = true
	f.Options.K3d.Timeout = clusterStartUp.String()
	f.Options.K3d.DisableLoadbalancer = in.servers() == 1
	servers := func(arg string) {
		f.Options.K3s.ExtraArgs = append(f.Options.K3s.ExtraArgs, k3dArg{arg, []string{"server:*"}})
	}
	for _, name := range in.Disable {
		servers("--disable=" + name)
	}
	for _, name := range in.TLSNames {
		servers("--tls-san=" + name)
	}
	for _, arg := range in.kubeProxyArgs {
		f.Options.K3s.ExtraArgs = append(f.Options.K3s.ExtraArgs, k3dArg{"--kube-proxy-arg=" + arg, []string{"server:*", "agent:*"}})
	}
	for _, arg := range in.KubeletArgs {
		f.Options.K3s.ExtraArgs = append(f.Options.K3s.ExtraArgs, k3dArg{"--kubelet-arg=" + arg, []string{"server:*", "agent:*"}})
	}
	return yaml.Marshal(f)
}

// k3dPort reads the port of the API out of the file; 0 if it has none.
func k3dPort(config []byte) int {
	var f k3dFile
	if yaml.Unmarshal(config, &f) != nil {
		return 0
	}
	port, err := strconv.ParseUint(f.KubeAPI.HostPort, 10, 16)
	if err != nil {
		return 0
	}
	return int(port)
}
