#!/usr/bin/env bash
# Builds what a kind cluster is made of, for machines that reach no registry, and prints the folder. It is laid out as mirrors are:
#
#	kubernetes-sigs/kind/releases/download/VERSION/kind-linux-ARCH
#	pipeopshq/pipeops-agent/releases/download/node-images/kind-node-image-VERSION-ARCH.tar
#
# The first is kind, from its module, the second the image kindest/node:VERSION for docker load. It is no official one: the
# files of kind's own base image, which its module has, on Debian 12 with Debian's containerd and runc; Kubernetes, etcd, CoreDNS
# and local-path-provisioner from their modules, without crictl; the pod network is a stand-in (net/main.go).
#
# Kubernetes takes about an hour of two cores the first time, the rest a quarter of one; what is built is kept in the cache.
# A machine with Docker to try it in: go run ./test/lab/cmd/lab up d --docker.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=test/images/lib.sh
. ../images/lib.sh

readonly versions=(v0.32.0 v0.33.0) version=v1.33.2 # kind needs no other Kubernetes; from v1.35 on none starts on cgroup v1
readonly etcd=v3.5.21 coredns=v1.12.0 provisioner=v0.0.30
arch=$(go env GOARCH)
inputs=$(cat ./*.sh load-images net/main.go ../k3s/pause/main.go ../images/*.sh ../images/main.go ../images/tree/main.go | sha256sum | cut -c 1-12)
built=$cache/kind-$arch-$inputs
begin kind "$built"
kubernetes=$(bash kubernetes.sh "$version")

for v in "${versions[@]}"; do
	build_module sigs.k8s.io/kind "$v" "kubernetes-sigs/kind/releases/download/$v/kind-linux-$arch" ''
done
kind=$(download "sigs.k8s.io/kind@${versions[-1]}")
base=$kind/images/base/files

say "packing the images in the nodes"
work=$part/.work
mkdir -p "$work/images"
build_package "go.etcd.io/etcd/server/v3@$etcd" "$work/etcd"
build_module github.com/coredns/coredns "$coredns" .work/coredns ''
build_package "github.com/rancher/local-path-provisioner@$provisioner" "$work/local-path-provisioner"
(cd ../k3s && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$work/pause" ./pause)
image_of() { sed -n "s/^const $2 = \"\(.*\)\"/\1/p" "$kind/pkg/build/nodeimage/$1"; }
kindnet=$(image_of const_cni.go kindnetdImage) storage=$(image_of const_storage.go storageProvisionerImage) storage_helper=$(image_of const_storage.go storageHelperImage)
pause=$(sed -n 's/^ *sandbox_image = "\(.*\)"/\1/p' "$base/etc/containerd/config.toml")
(
	cd ../images
	go run . -o "$work/images/static.tar" -arch "$arch" "$pause=$work/pause" \
		"registry.k8s.io/etcd:3.5.21-0=!$work/etcd" "registry.k8s.io/coredns/coredns:$coredns=!$work/coredns" \
		"registry.k8s.io/kube-apiserver:$version=!$kubernetes/kube-apiserver" \
		"registry.k8s.io/kube-controller-manager:$version=!$kubernetes/kube-controller-manager" \
		"registry.k8s.io/kube-scheduler:$version=!$kubernetes/kube-scheduler" \
		"$storage=!$work/local-path-provisioner"
)
# one image with three names, for what needs more than its own program: a layer that is kept once
root_tar node-root.tar busybox,ca-certificates,conntrack,iproute2,iptables,kmod,mount,procps
mkdir -p "$work/userland/usr/local/bin"
cp "$kubernetes/kube-proxy" "$work/userland/usr/local/bin/"
CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$work/userland/usr/local/bin/kindnet-stand-in" ./net
layer "$work/userland" "$work/userland.tar"
tree -o "$work/images/userland.tar" -entrypoint /usr/local/bin/kindnet-stand-in \
	"$kindnet" "$roots/node-root.tar" "$work/userland.tar"
for name in "registry.k8s.io/kube-proxy:$version" "$storage_helper"; do echo "$kindnet $name"; done >"$work/images/names"

say "packing the image of the nodes"
manifest() { # manifest FILE CONSTANT: a text of kind's, with the names of images in it
	sed -n "/^const $2 = \`/,/^\`\$/p" "$kind/pkg/build/nodeimage/$1" | sed -e '1d' -e '$d' \
		-e "s#\` + kindnetdImage + \`#$kindnet#; s#\` + storageProvisionerImage + \`#$storage#; s#\` + storageHelperImage + \`#$storage_helper#"
}
top=$work/top
mkdir -p "$top/usr/bin" "$top/usr/local/bin" "$top/kind/manifests" "$top/kind/images" "$top/etc/systemd/system/containerd.service.d" "$top/opt/cni" "$top/LICENSES" "$top/etc/kubernetes/manifests"
cp -R "$base/etc" "$base/kind" "$base/LICENSES" "$top/"
chmod -R u=rwX,go=rX "$top"
install -m 0755 "$base/usr/local/bin/entrypoint" "$top/usr/local/bin/entrypoint"
chmod 0755 "$top"/kind/bin/*
install -m 0755 load-images "$top/kind/bin/load-images"
cp "$work"/images/* "$top/kind/images/"
for program in kubeadm kubectl kubelet; do cp "$kubernetes/$program" "$top/usr/bin/"; done
printf '%s' "$version" >"$top/kind/version"
manifest const_cni.go defaultCNIManifest >"$top/kind/manifests/default-cni.yaml"
manifest const_storage.go defaultStorageManifest >"$top/kind/manifests/default-storage.yaml"
grep -q "image: $kindnet" "$top/kind/manifests/default-cni.yaml"
ln -s /usr/bin/containerd "$top/usr/local/bin/containerd"
ln -s /usr/lib/cni "$top/opt/cni/bin"
# nobody in the lab may lower an oom_score_adj
sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' "$top/etc/containerd/config.toml"
printf '[Service]\nOOMScoreAdjust=0\nExecStartPost=/kind/bin/load-images\nTimeoutStartSec=5min\n' >"$top/etc/systemd/system/containerd.service.d/lab.conf"
mkdir "$top/etc/systemd/system/multi-user.target.wants"
for unit in kubelet containerd undo-mount-hacks; do
	ln -s "../$unit.service" "$top/etc/systemd/system/multi-user.target.wants/$unit.service"
done
ln -s /dev/null "$top/etc/systemd/system/systemd-binfmt.service"
# what kind's Dockerfile does with its packages and units
# shellcheck disable=SC2016 # for the inner shell
root_tar kind-root.tar systemd-sysv,dbus,conntrack,iptables,nftables,iproute2,ethtool,util-linux,mount,kmod,e2fsprogs,bash,ca-certificates,curl,jq,procps,containerd,runc,containernetworking-plugins '
	cd "$1"
	rm -f lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service lib/systemd/system/multi-user.target.wants/* etc/systemd/system/*.wants/* \
		lib/systemd/system/local-fs.target.wants/* lib/systemd/system/sockets.target.wants/*udev* lib/systemd/system/sockets.target.wants/*initctl* \
		lib/systemd/system/basic.target.wants/*
	echo ReadKMsg=no >>etc/systemd/journald.conf
	mkdir -p etc/containerd
	chroot . ctr oci spec >spec.json
	chroot . jq ".hooks.createContainer += [{path: \"/kind/bin/mount-product-files.sh\"}] | del(.process.rlimits)" /spec.json >etc/containerd/cri-base.json
	rm spec.json'
layer "$top" "$work/top.tar"
images=$part/pipeopshq/pipeops-agent/releases/download/node-images
mkdir -p "$images"
tree -o "$images/kind-node-image-$version-$arch.tar" -entrypoint /usr/local/bin/entrypoint -entrypoint /sbin/init -stop-signal SIGRTMIN+3 \
	-env container=docker -env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	"docker.io/kindest/node:$version" "$roots/kind-root.tar" "$work/top.tar"
finish
