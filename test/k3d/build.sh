#!/usr/bin/env bash
# Builds what a k3d cluster is made of, for machines that reach no registry, and prints the folder: K3S_RELEASE_DIR=DIR build.sh
# With a version of k3d, as v5.6.3, it builds only the program in that version.
# It is laid out as mirrors are:
#
#	k3d-io/k3d/releases/download/VERSION/k3d-linux-ARCH           k3d itself, from its Go modules
#	pipeopshq/pipeops-agent/releases/download/node-images/k3d-node-image-VERSION-ARCH.tar
#	                                                              the image rancher/k3s:VERSION for docker load
#	pipeopshq/pipeops-agent/releases/download/node-images/k3d-proxy-image-VERSION-ARCH.tar
#	                                                              the image ghcr.io/k3d-io/k3d-proxy:VERSION, which is before several servers
#
# The node's image is no official one: k3s from the release in K3S_RELEASE_DIR with its images on Debian's userland. A
# machine with Docker to try it in: go run ./test/lab/cmd/lab up d --docker. k3d wants an image of tools too, which any that is
# there can stand in for: K3D_IMAGE_TOOLS. The balancer is nginx of Debian with the script and the template of k3d; in it the
# command confd, whose module cannot be had, stands in for confd. It takes five minutes the first time and is kept.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=test/images/lib.sh
. ../images/lib.sh

readonly version=${1:-v5.6.0} k3s_version=v1.33.2+k3s1
: "${K3S_RELEASE_DIR:?}"
arch=$(go env GOARCH)
inputs=$(cat build.sh confd/main.go containerd.toml ../images/lib.sh ../images/tree/main.go "$K3S_RELEASE_DIR/sha256sum-$arch.txt" | sha256sum | cut -c 1-12)
begin k3d "$cache/k3d-$arch-$inputs${1:+-$1}"

build_module github.com/k3d-io/k3d/v5 "$version" "k3d-io/k3d/releases/download/$version/k3d-linux-$arch" \
	"-X github.com/k3d-io/k3d/v5/version.Version=$version -X github.com/k3d-io/k3d/v5/version.K3sVersion=${k3s_version/+/-}"
if [[ -n ${1:-} ]]; then
	finish
	exit
fi

say "packing the image of the nodes"
root_tar node-root.tar busybox,ca-certificates,conntrack,iproute2,iptables,kmod,mount,procps
top=$part/.top
state=$top/var/lib/rancher/k3s/agent
mkdir -p "$top/usr/bin" "$state/images" "$state/etc/containerd/config-v3.toml.d"
k3s=k3s
[[ $arch == amd64 ]] || k3s=k3s-$arch
install -m 0755 "$K3S_RELEASE_DIR/$k3s" "$top/usr/bin/k3s"
for name in kubectl crictl ctr; do ln -s k3s "$top/usr/bin/$name"; done
ln -s busybox "$top/usr/bin/sh" # as in the official image: k3d's entrypoint traps SIGTERM by a name that dash does not know
install -m 0644 "$K3S_RELEASE_DIR/k3s-airgap-images-$arch.tar.zst" "$state/images/"
# runc in it may not lower an OOM score where this host may not; containerd 2 merges the file key by key
install -m 0644 containerd.toml "$state/etc/containerd/config-v3.toml.d/lab.toml"
printf 'imports = ["/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.d/*.toml"]\n{{ template "base" . }}\n' >"$state/etc/containerd/config-v3.toml.tmpl"
layer "$top" "$part/.top.tar"
images=$part/pipeopshq/pipeops-agent/releases/download/node-images
mkdir -p "$images"
tree -o "$images/k3d-node-image-$k3s_version-$arch.tar" -entrypoint /bin/k3s -cmd agent \
	-volume /var/lib/rancher/k3s,/var/lib/kubelet,/var/lib/cni,/var/log \
	-env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/var/lib/rancher/k3s/data/cni \
	-env CRI_CONFIG_FILE=/var/lib/rancher/k3s/agent/etc/crictl.yaml \
	"docker.io/rancher/k3s:${k3s_version/+/-}" "$roots/node-root.tar" "$part/.top.tar"

say "packing the image of the balancer"
root_tar k3d-proxy-root.tar nginx-light,libnginx-mod-stream
proxy=$(download "github.com/k3d-io/k3d/v5@$version")/proxy top=$part/.proxy
mkdir -p "$top/usr/bin" "$top/etc/confd/conf.d" "$top/etc/confd/templates"
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$top/usr/bin/confd" ./confd
install -m 0755 "$proxy/nginx-proxy" "$top/usr/bin/nginx-proxy"
install -m 0644 "$proxy/conf.d/nginx.toml" "$top/etc/confd/conf.d/nginx.toml"
# nginx of Debian has streams as a module
{ echo 'load_module /usr/lib/nginx/modules/ngx_stream_module.so;'; cat "$proxy/templates/nginx.tmpl"; } >"$top/etc/confd/templates/nginx.tmpl"
layer "$top" "$part/.proxy.tar"
tree -o "$images/k3d-proxy-image-$version-$arch.tar" -entrypoint /bin/sh -entrypoint -c -entrypoint nginx-proxy \
	-env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	"ghcr.io/k3d-io/k3d-proxy:${version#v}" "$roots/k3d-proxy-root.tar" "$part/.proxy.tar"
finish
