package main

import (
	"regexp"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
)

// product is how the paths of a product's releases look at its origin. The groups version, arch and ext are what they say.
type product struct {
	product, name, origin string
	path                  string
	arch                  string // where the path names none
}

// products lists what the folder of a mirror may hold and we install.
func products() []product {
	const github, version, arch = manifest.Origin, `(?P<version>v[^/]+)`, `(?P<arch>amd64|arm64)`
	const ours = `pipeopshq/pipeops-agent/releases/download/` + version + `/`
	const nodeImages = `pipeopshq/pipeops-agent/releases/download/node-images/`
	const k3s = `k3s-io/k3s/releases/download/` + version + `/`
	return []product{
		{"pipeops-agent", "binary", github, ours + `pipeops-agent-linux-` + arch, ""},
		{"pipeops-agent", "archive", github, ours + `pipeops-agent-v[^/]+-linux-` + arch + `\.tar\.gz`, ""},
		{"pipeops-agent", "deb", github, ours + `pipeops-agent_[^/]+_` + arch + `\.deb`, ""},
		{"pipeops-agent", "rpm", github, ours + `pipeops-agent-[^/]+\.x86_64\.rpm`, "amd64"},
		{"pipeops-agent", "rpm", github, ours + `pipeops-agent-[^/]+\.aarch64\.rpm`, "arm64"},
		{"pipeops-agent", "install-script", github, ours + `install\.sh`, ""},
		{"pipeops-gateway", "binary", github, ours + `pipeops-gateway-linux-` + arch, ""},
		{"k3s", "binary", github, k3s + `k3s`, "amd64"},
		{"k3s", "binary", github, k3s + `k3s-(?P<arch>arm64)`, ""},
		{"k3s", "images", github, k3s + `k3s-airgap-images-` + arch + `\.tar\.zst`, ""},
		{"k3s", "install-script", github, k3s + `install\.sh`, ""},
		{"k3d", "binary", github, `k3d-io/k3d/releases/download/` + version + `/k3d-linux-` + arch, ""},
		{"k3d", "node-image", github, nodeImages + `k3d-node-image-` + version + `-` + arch + `\.tar`, ""},
		{"k3d", "proxy-image", github, nodeImages + `k3d-proxy-image-` + version + `-` + arch + `\.tar`, ""},
		{"kind", "binary", github, `kubernetes-sigs/kind/releases/download/` + version + `/kind-linux-` + arch, ""},
		{"kind", "node-image", github, nodeImages + `kind-node-image-` + version + `-` + arch + `\.tar`, ""},
		{"minikube", "binary", github, `kubernetes/minikube/releases/download/` + version + `/minikube-linux-` + arch, ""},
		{"kubectl", "binary", "https://dl.k8s.io", `release/` + version + `/bin/linux/` + arch + `/kubectl`, ""},
	}
}

// recognise tells which file has this path; false if it is none that we install.
func recognise(path string) (manifest.File, bool) {
	for _, p := range products() {
		form := regexp.MustCompile(`^` + p.path + `$`)
		m := form.FindStringSubmatch(path)
		if m == nil {
			continue
		}
		f := manifest.File{Product: p.product, Name: p.name, Origin: p.origin, Path: path, Arch: p.arch}
		f.Version = m[form.SubexpIndex("version")]
		if i := form.SubexpIndex("arch"); i > 0 {
			f.Arch = m[i]
		}
		return f, true
	}
	return manifest.File{}, false
}
