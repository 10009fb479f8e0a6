package distro

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// What follows is the stand-in for minikube with its driver none. The machine is the folder STAND_IN_ROOT, and its kubelet is a file,
// STAND_IN_KUBELET, that is there as long as it runs: the file goes with the power. What is written is what minikube 1.37.0 writes, by
// its page of the driver and its sources: the same files, of another content.

// none reports whether the profile has the driver none, or is to have it.
func (m minikubeRun) none() bool {
	if driver, given := m.flags["--driver"]; given {
		return driver == "none"
	}
	var config struct{ Driver string }
	text, err := os.ReadFile(filepath.Join(m.dir(), "config.json"))
	return err == nil && json.Unmarshal(text, &config) == nil && config.Driver == "none"
}

func standInPath(target string) string { return filepath.Join(os.Getenv("STAND_IN_ROOT"), target) }

// installed reports whether root finds a program.
func installed(name string) bool {
	for _, dir := range []string{"/usr/local/bin", "/usr/sbin", "/usr/bin", "/snap/bin"} {
		if _, err := os.Stat(standInPath(dir + "/" + name)); err == nil {
			return true
		}
	}
	return false
}

// refuses is what a start with the driver none looks at, in its order.
func (m minikubeRun) refuses() error {
	version := strings.TrimPrefix(m.flags["--kubernetes-version"], "v")
	_, plugins := os.Stat(standInPath("/opt/cni/bin"))
	switch {
	case !installed("iptables"):
		return &minikubeError{exDriverUnsupported, "DRV_UNSUPPORTED_OS", "iptables must be installed"}
	case m.flags["--interactive"] == "false" && !installed("sudo"):
		return &minikubeError{exDriverPermission, "DRV_NEEDS_ROOT", "sudo requires a password, and --interactive=false"}
	case m.profile != "minikube":
		return &minikubeError{exDriverUnsupported, "DRV_UNSUPPORTED_PROFILE", "The 'none' driver does not support multiple profiles: https://minikube.sigs.k8s.io/docs/reference/drivers/none/"}
	case !installed("conntrack"):
		return &minikubeError{exGuestUnsupported, "GUEST_MISSING_CONNTRACK", "Sorry, Kubernetes " + version + " requires conntrack to be installed in root's path"}
	case !installed("crictl"):
		return &minikubeError{exGuestUnsupported, "GUEST_MISSING_CONNTRACK", "Sorry, Kubernetes " + version + " requires crictl to be installed in root's path"}
	case !installed("docker"):
		return &minikubeError{exGuestError, "GUEST_PROVISION", `Failed to start host: creating host: create: precreate: exec: "docker": executable file not found in $PATH`}
	case !installed("cri-dockerd"):
		return &minikubeError{exProgramNotFound, "NOT_FOUND_CRI_DOCKERD", ""}
	case !installed("dockerd"):
		return &minikubeError{exProgramNotFound, "NOT_FOUND_DOCKERD", ""}
	case plugins != nil:
		return &minikubeError{exProgramNotFound, "NOT_FOUND_CNI_PLUGINS", ""}
	}
	return nil
}

// startNone makes the machine a node, or starts the one that it is.
func (m minikubeRun) startNone() error {
	if err := m.refuses(); err != nil {
		return err
	}
	version := m.flags["--kubernetes-version"]
	port := m.flags["--apiserver-port"]
	const data, kubernetes = "/var/lib/minikube", "/etc/kubernetes"
	for target, content := range map[string]string{
		// the runtime
		"/etc/systemd/system/cri-docker.service.d/10-cni.conf": "[Service]\nExecStart=\nExecStart=/usr/bin/cri-dockerd --network-plugin=cni\n",
		"/etc/crictl.yaml":        "runtime-endpoint: unix:///var/run/cri-dockerd.sock\n",
		"/etc/docker/daemon.json": `{"exec-opts":["native.cgroupdriver=systemd"],"log-driver":"json-file","log-opts":{"max-size":"100m"},"storage-driver":"overlay2"}`,
		// kubeadm and the kubelet
		"/lib/systemd/system/kubelet.service":                         "[Unit]\nDescription=kubelet: The Kubernetes Node Agent\n",
		"/etc/systemd/system/kubelet.service.d/10-kubeadm.conf":       "[Service]\nExecStart=" + data + "/binaries/" + version + "/kubelet\n",
		data + "/binaries/" + version + "/kubelet":                    "the kubelet",
		data + "/binaries/" + version + "/kubeadm":                    "kubeadm",
		data + "/certs/ca.crt":                                        "the certificate",
		data + "/etcd/member/snap/db":                                 "the database",
		data + "/kubeconfig":                                          "of minikube itself",
		"/var/tmp/minikube/kubeadm.yaml":                              "kind: InitConfiguration\n",
		kubernetes + "/admin.conf":                                    "kind: Config\n",
		kubernetes + "/kubelet.conf":                                  "kind: Config\n",
		kubernetes + "/manifests/kube-apiserver.yaml":                 "kind: Pod # " + port + "\n",
		kubernetes + "/addons/storage-provisioner.yaml":               "kind: Pod\n",
		"/var/lib/kubelet/config.yaml":                                "kind: KubeletConfiguration\n",
		"/var/lib/kubelet/pods/0c/etc-hosts":                          "127.0.0.1 localhost\n",
		"/var/log/pods/kube-system_kube-apiserver/kube-apiserver/0":   "log",
		"/var/log/containers/kube-apiserver.log":                      "log",
		"/var/lib/cni/networks/bridge/10.244.0.2":                     "pod",
		"/var/lib/cri-dockerd/sandbox/1a":                             "{}",
		"/usr/libexec/kubernetes/kubelet-plugins/volume/exec/.folder": "",
		"/tmp/gvisor/.folder":                                         "",
		"/tmp/hostpath-provisioner/default/claim/data":                "of a pod",
		// the network, and what trusts its certificate
		"/etc/cni/net.d/1-k8s.conflist":              `{"name": "bridge"}`,
		"/usr/share/ca-certificates/minikubeCA.pem":  "the certificate",
		filepath.Join(m.dir(), "config.json") + "//": fmt.Sprintf("{%q: %q, \"Driver\": \"none\"}\n", "Name", m.profile),
	} {
		path := standInPath(target)
		if own, is := strings.CutSuffix(target, "//"); is { // of MINIKUBE_HOME
			path = own
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if filepath.Base(path) == ".folder" {
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	if err := m.changeNone(); err != nil {
		return err
	}
	if err := m.pods(version); err != nil {
		return err
	}
	if err := os.WriteFile(os.Getenv("STAND_IN_KUBELET"), nil, 0o600); err != nil {
		return err
	}
	fmt.Printf("* Done! kubectl is now configured to use %q cluster and %q namespace by default\n", m.profile, "default")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters:\n- cluster: {server: \"https://192.0.2.10:%s\"}\n  name: %s\ncurrent-context: %q\n", port, m.profile, m.profile)
	return os.WriteFile(os.Getenv("KUBECONFIG"), []byte(text), 0o600)
}

// changeNone changes lines in files of others, and makes links.
func (m minikubeRun) changeNone() error {
	containerd := standInPath("/etc/containerd/config.toml")
	if text, err := os.ReadFile(containerd); err == nil {
		changed := regexp.MustCompile(`(?m)^( *)SystemdCgroup = .*$`).ReplaceAll(text, []byte("${1}SystemdCgroup = true"))
		if err := os.WriteFile(containerd, changed, 0o644); err != nil {
			return err
		}
	}
	hosts, err := os.ReadFile(standInPath("/etc/hosts"))
	if err != nil {
		return err
	}
	for _, record := range []string{"127.0.0.1\thost.minikube.internal", "192.0.2.10\tcontrol-plane.minikube.internal"} {
		if !strings.Contains(string(hosts), record) {
			hosts = append(hosts, record+"\n"...)
		}
	}
	if err := os.WriteFile(standInPath("/etc/hosts"), hosts, 0o644); err != nil {
		return err
	}
	certs := standInPath("/etc/ssl/certs")
	if err := os.MkdirAll(certs, 0o755); err != nil {
		return err
	}
	for link, to := range map[string]string{"minikubeCA.pem": "/usr/share/ca-certificates/minikubeCA.pem", "b5213941.0": "/etc/ssl/certs/minikubeCA.pem"} {
		if err := os.Symlink(to, filepath.Join(certs, link)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// pods has the engine hold the images of Kubernetes, and run pods.
func (m minikubeRun) pods(version string) error {
	server, provisioner := "registry.k8s.io/kube-apiserver:"+version, "gcr.io/k8s-minikube/storage-provisioner:v5"
	for _, image := range []string{server, provisioner} {
		if _, err := m.load(image); err != nil {
			return err
		}
	}
	for name, image := range map[string]string{"k8s_kube-apiserver": server, "k8s_storage-provisioner": provisioner} {
		if there, err := m.ask(http.MethodGet, "/containers/"+name+"/json", nil, nil); err != nil {
			return err
		} else if !there {
			_, err := m.ask(http.MethodPost, "/containers/create?name="+name, map[string]any{
				"Image": image, "Labels": map[string]string{"io.kubernetes.pod.uid": "0c", "io.kubernetes.pod.namespace": "kube-system"},
				"HostConfig": map[string]any{"NetworkMode": "bridge"},
			}, nil)
			if err != nil {
				return err
			}
		}
		if _, err := m.ask(http.MethodPost, "/containers/"+name+"/start", nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// load gives the engine an image. An archive of the stand-in for it is a list of names.
func (m minikubeRun) load(image string) (*http.Response, error) {
	r, err := m.engine.Post("http://engine/v1.47/images/load", "application/x-tar", strings.NewReader(image))
	if err != nil {
		return nil, err
	}
	return r, r.Body.Close()
}

func (m minikubeRun) stopNone() error {
	if _, err := os.Stat(m.dir()); err != nil {
		return m.notFound()
	}
	if err := os.Remove(os.Getenv("STAND_IN_KUBELET")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, name := range []string{"k8s_kube-apiserver", "k8s_storage-provisioner"} {
		if _, err := m.ask(http.MethodPost, "/containers/"+name+"/stop", nil, nil); err != nil {
			return err
		}
	}
	fmt.Println("* 1 node stopped.")
	return nil
}

func (m minikubeRun) statusNone() error {
	_, err := os.Stat(os.Getenv("STAND_IN_KUBELET"))
	state, code := "Running", 0
	if err != nil {
		state, code = "Stopped", statusHost|statusCluster|statusKubernetes
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]any{"Name": m.profile, "Host": state, "Kubelet": state, "APIServer": state, "Kubeconfig": "Configured", "Worker": false}); err != nil || code == 0 {
		return err
	}
	return &minikubeError{code: code}
}
