#!/usr/bin/env bash
# Builds a k3s release from published Go modules, for machines that have neither the release nor a way to it, and prints its
# folder. It is laid out as the release on GitHub. go.mod pins every version, go.sum every byte; nothing of k3s is kept here.
# (go.mod is k3s's own list of requirements, so it is not tidy: go mod tidy would throw away most of it.)
#
# It takes about half an hour of two cores and 10 GB of disk. What is finished is kept in the cache, and an interrupted
# build goes on where it was. Left out of the real release: the bundled userland (the machine needs iptables of its own) and
# the images of traefik, klipper and local-path-provisioner: start k3s with --disable=traefik,servicelb,local-storage.
set -euo pipefail
cd "$(dirname "$0")"

readonly version=v1.33.2+k3s1 runc=v1.2.6 coredns=v1.12.1 metrics=v0.7.2
arch=$(go env GOARCH)
inputs=$(cat go.mod go.sum build.sh launcher/main.go pause/main.go cni/go.* cni/flannel/main.go ../images/main.go | sha256sum | cut -c 1-12)
cache=${PIPEOPS_CACHE:-/var/cache/pipeops-agent}
release=$cache/k3s-$version-$arch-built-$inputs
if [[ -d $release ]]; then
	echo "$release"
	exit 0
fi
work=$cache/k3s-work-$inputs
mkdir -p "$work/bin" "$work/images"
exec 9>"$work/lock"
flock 9 # who comes second waits, and then finds the release
if [[ -d $release ]]; then
	echo "$release"
	exit 0
fi

began=$SECONDS
say() { printf 'k3s: %4d s  %s\n' $((SECONDS - began)) "$*" >&2; }

needs() { # C libraries that runc and k3s are linked with
	local missing=()
	for need in stdio.h:libc6-dev seccomp.h:libseccomp-dev sqlite3.h:libsqlite3-dev zlib.h:zlib1g-dev; do
		[[ -e /usr/include/${need%%:*} ]] || missing+=("${need##*:}")
	done
	command -v gcc >/dev/null || missing+=(gcc)
	command -v zstd >/dev/null || missing+=(zstd)
	((${#missing[@]})) || return 0
	say "installing ${missing[*]}"
	apt-get update -qq >&2
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

build() { # build NAME CGO TAGS LDFLAGS PACKAGE: into the folder bin, unless it is there
	local name=$1 cgo=$2 tags=$3 ldflags=$4 package=$5
	[[ ! -e $work/bin/$name ]] || return 0
	say "building $name"
	CGO_ENABLED=$cgo go build -trimpath -buildvcs=false -tags "$tags" -ldflags "-s -w $ldflags" -o "$work/bin/.$name" "$package"
	mv "$work/bin/.$name" "$work/bin/$name"
}

install() { # install FOLDER CGO TAGS LDFLAGS PACKAGE@VERSION: a program by its own go.mod, as the checksum database knows it
	local folder=$1 cgo=$2 tags=$3 ldflags=$4 package=$5 name
	name=$(basename "${package%@*}")
	[[ ! -e $work/$folder/$name ]] || return 0
	say "building $name"
	CGO_ENABLED=$cgo GOBIN=$work/$folder go install -trimpath -buildvcs=false -tags "$tags" -ldflags "-s -w $ldflags" "$package"
}

needs
static="-extldflags '-static -lm -ldl -lz -lpthread'"

install images 0 '' '' "github.com/coredns/coredns@$coredns"
install images 0 '' '' "sigs.k8s.io/metrics-server/cmd/metrics-server@$metrics"
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/images/pause" ./pause

(
	cd cni # a module of its own: k3s's list lacks what the plugins need
	build flannel 0 '' '' ./flannel
	for plugin in main/bridge main/loopback ipam/host-local meta/bandwidth meta/firewall meta/portmap; do
		build "${plugin#*/}" 0 '' '' "github.com/containernetworking/plugins/plugins/$plugin"
	done
)
build containerd-shim-runc-v2 0 'netgo osusergo' '' github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2
install bin 1 'netgo osusergo seccomp apparmor' '-extldflags -static' "github.com/opencontainers/runc@$runc"
v="-X github.com/k3s-io/k3s/pkg/version.Version=$version -X github.com/k3s-io/k3s/pkg/version.GitCommit=modules"
v="$v -X github.com/k3s-io/k3s/pkg/version.UpstreamGolang=$(go env GOVERSION)" # k3s starts only with the Go that it was told of
for base in k8s.io/client-go/pkg k8s.io/component-base; do
	v="$v -X $base/version.gitVersion=$version -X $base/version.gitTreeState=clean"
done
say "the next program is k3s itself, which takes longest: a quarter of an hour on two cores"
CGO_CFLAGS='-DSQLITE_ENABLE_DBSTAT_VTAB=1 -DSQLITE_USE_ALLOCA=1' build k3s 1 \
	'static_build libsqlite3 ctrd netgo osusergo providerless urfave_cli_no_docs sqlite_omit_load_extension apparmor seccomp' \
	"$v $static" github.com/k3s-io/k3s/cmd/server

say "packing the programs"
for name in k3s-server k3s-agent k3s-token k3s-etcd-snapshot k3s-secrets-encrypt k3s-certificate k3s-completion \
	containerd kubectl crictl ctr; do
	ln -sfn k3s "$work/bin/$name"
done
tar --sort=name --owner=0 --group=0 --mtime=@0 -C "$work" -cf - bin | zstd -q -12 -T0 -f -o "$work/payload.tar.zst"
mkdir -p "$work/release"
k3s=k3s
[[ $arch == amd64 ]] || k3s=k3s-$arch
cp "$work/payload.tar.zst" launcher/payload.tar.zst
trap 'rm -f launcher/payload.tar.zst' EXIT
CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$version" -o "$work/release/$k3s" ./launcher

say "packing the images"
(
	cd ../images
	go run . -o "$work/images.tar" \
		"docker.io/rancher/mirrored-pause:3.6=$work/images/pause" \
		"docker.io/rancher/mirrored-coredns-coredns:${coredns#v}=!$work/images/coredns" \
		"docker.io/rancher/mirrored-metrics-server:$metrics=$work/images/metrics-server"
)
(
	cd "$work/release"
	zstd -q -12 -T0 -f "$work/images.tar" -o "k3s-airgap-images-$arch.tar.zst"
	printf 'docker.io/rancher/mirrored-%s\n' "coredns-coredns:${coredns#v}" "metrics-server:$metrics" pause:3.6 >k3s-images.txt
	sha256sum "$k3s" "k3s-airgap-images-$arch.tar.zst" >"sha256sum-$arch.txt"
)
cp "$(go list -m -f '{{.Dir}}' github.com/k3s-io/k3s)/install.sh" "$work/release/install.sh"
chmod 0644 "$work/release/install.sh"
mv "$work/release" "$release"
rm -rf "$work"
say "done"
echo "$release"
