package distro

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// MinikubeVersion is the version of minikube that makes the clusters.
const MinikubeVersion = "v1.37.0"

// What minikube runs unless another version is asked for, and the image of its nodes with its digest, as this version names them
// (k8s.io/minikube@v1.37.0, pkg/minikube/constants and pkg/drivers/kic).
const (
	MinikubeKubernetes = "v1.34.0"
	minikubeBase       = "gcr.io/k8s-minikube/kicbase"
	minikubeBaseTag    = "v0.0.48"
	minikubeBaseDigest = "7171c97a51623558720f8e5878e4f4637da093e2f2ed589997bedc6c1549b2b1"
	// minikubeUser runs minikube, which does not let root do so; minikubeHome is its folder, outside of ours, which only root sees.
	minikubeUser = "pipeops-minikube"
	minikubeHome = "/var/lib/pipeops-minikube"
)

// minikube is Kubernetes for a desktop, here with its docker driver.
func minikube() Distribution {
	return Distribution{
		Name:  Minikube,
		Title: "minikube, with the docker driver",
		// minikube refuses Docker before 18.09
		Requirements: append(containers{
			name: Minikube, memory: minikubeMemory, memoryWarn: minikubeMemoryWarn, disk: minikubeDisk, diskWarn: minikubeDiskWarn,
			engine: version{18, 9, 0}, proxy: true, command: true, kubernetes: kubernetesOf(MinikubeKubernetes),
		}.requirements(), minikubeRoot(), minikubeDriver(MinikubeDocker)),
		Steps:      minikubeNodes().steps,
		Kubeconfig: at(minikubeNodes().kubeconfigFile()),
	}
}

// minikubeRoot lets root run minikube only where that was asked for, and says so.
func minikubeRoot() Requirement {
	return Requirement{Name: "minikube-root", Code: reason.MinikubeRoot, Waivable: true, Judge: func(c Case) Finding {
		if c.Request.MinikubeForce {
			return unmet("root runs minikube, with --force, as was asked for", "minikube run by a user of its own")
		}
		return met()
	}}
}

// The drivers of minikube that can be asked for.
const (
	MinikubeDocker = "docker"
	MinikubeNone   = "none"
)

// CheckMinikubeDriver refuses what is no driver that is known here.
func CheckMinikubeDriver(driver string) error {
	if driver == "" || driver == MinikubeDocker || driver == MinikubeNone {
		return nil
	}
	return reason.Newf(reason.Usage, "--minikube-driver %q: pipeops-agent knows docker, and none", driver).
		WithFix("leave it out; or make the cluster yourself, and adopt it with --distro existing --kubeconfig FILE")
}

// minikubeDriver needs that the cluster of minikube that we have made here has the driver that is asked for.
func minikubeDriver(driver string) Requirement {
	return Requirement{Name: "minikube-driver", Code: reason.ClusterFixed, Judge: func(c Case) Finding {
		made := madeDriver(c.Facts)
		if made == "" || made == driver {
			return met()
		}
		return unmet("pipeops-agent has made minikube here with the driver "+made, "--minikube-driver "+made)
	}}
}

// madeDriver is the driver with which we have made minikube here; "" if we have not.
func madeDriver(f host.Facts) string {
	ours, ok := ourContainers(f)
	switch {
	case !ok || ours.Name != Minikube:
		return ""
	case ours.Cluster == host.MinikubeProfile:
		return MinikubeNone
	}
	return MinikubeDocker
}

// minikubeNodes is how minikube makes its node. The program has to start it, too: it writes addresses anew into what is inside.
// It publishes the API at another port after each start, beside the one that it was asked for, which stays.
func minikubeNodes() nodeContainers {
	return nodeContainers{
		name: Minikube, version: MinikubeVersion,
		about: 1000 << 20, // the program, the image of the node, and what minikube itself fetches into it: issue 7903
		images: func(Install) []nodeImage {
			return []nodeImage{{ref: minikubeBase + ":" + minikubeBaseTag, version: minikubeBaseTag, role: "node-image", sha256: minikubeBaseDigest}}
		},
		config: minikubeConfig, port: minikubePort,
		env: minikubeEnv, arguments: minikubeArgs, kubeconfigCopy: minikubeKubeconfig,
		starts: true,
		mounts: []string{modulesFolder},
		user:   minikubeUser, home: minikubeHome, single: true,
		label: "name.minikube.sigs.k8s.io", role: "created_by.minikube.sigs.k8s.io", order: []string{"true"},
		server: "true", apiPort: "8443/tcp",
		networks: []string{ClusterName}, volumes: []string{ClusterName},
	}
}

// minikubeKubeconfig is where minikube writes its kubeconfig.
func minikubeKubeconfig(in Install) string { return in.path(minikubeHome) + "/kubeconfig" }

// minikubeEnv keeps minikube in its folder, and quiet.
func minikubeEnv(in Install) []string {
	return []string{
		"MINIKUBE_HOME=" + in.path(minikubeHome), "KUBECONFIG=" + minikubeKubeconfig(in), "MINIKUBE_IN_STYLE=false", "MINIKUBE_WANTUPDATENOTIFICATION=false",
	}
}

// minikubeFile is our own file: minikube has none, and takes arguments.
type minikubeFile struct {
	Profile string   `json:"profile"`
	APIPort int      `json:"apiPort"`
	Start   []string `json:"start"`
}

// minikubeConfig writes down with which arguments minikube starts, which are the same each time.
func minikubeConfig(in Install, port int) ([]byte, error) {
	listen := "127.0.0.1"
	if len(in.TLSNames) > 0 {
		listen = "0.0.0.0"
	}
	args := append([]string{
		"start", "--profile=" + ClusterName, "--driver=docker", "--container-runtime=containerd",
		"--kubernetes-version=" + kubernetesOf(MinikubeKubernetes)(in.Version), "--base-image=" + minikubeBase + ":" + minikubeBaseTag,
		"--listen-address=" + listen, fmt.Sprintf("--ports=%s:%d:8443", listen, port),
		"--interactive=false", "--embed-certs", "--wait=apiserver", "--auto-update-drivers=false",
	}, minikubeMore(in)...)
	if in.MinikubeForce {
		args = append(args, "--force")
	}
	return yaml.Marshal(minikubeFile{Profile: ClusterName, APIPort: port, Start: args})
}

// minikubeMore are the arguments that are the same with each driver.
func minikubeMore(in Install) []string {
	var args, names, addresses []string
	for _, name := range in.TLSNames {
		if _, err := netip.ParseAddr(name); err == nil {
			addresses = append(addresses, name)
		} else {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		args = append(args, "--apiserver-names="+strings.Join(names, ","))
	}
	if len(addresses) > 0 {
		args = append(args, "--apiserver-ips="+strings.Join(addresses, ","))
	}
	for _, arg := range in.KubeletArgs {
		args = append(args, "--extra-config=kubelet."+arg)
	}
	return args
}

// minikubeArgs reads the arguments out of the file.
func minikubeArgs(config []byte) ([]string, error) {
	var f minikubeFile
	if err := yaml.UnmarshalStrict(config, &f); err != nil {
		return nil, fmt.Errorf("cannot read how minikube is started: %w", err)
	}
	if len(f.Start) == 0 || f.Start[0] != "start" || slices.Contains(f.Start, "") {
		return nil, fmt.Errorf("cannot read how minikube is started: %q", f.Start)
	}
	return f.Start, nil
}

// minikubePort reads the port of the API out of the file; 0 if it has none.
func minikubePort(config []byte) int {
	var f minikubeFile
	if yaml.Unmarshal(config, &f) != nil || f.APIPort < 0 || f.APIPort > 65535 {
		return 0
	}
	return f.APIPort
}
