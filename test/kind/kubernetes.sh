#!/usr/bin/env bash
# Builds the programs of Kubernetes from Go modules and prints their folder: kubernetes.sh VERSION
# The module k8s.io/kubernetes takes its parts from a folder that module archives leave out; they are published as modules
# too. It takes about an hour of two cores, and is kept.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=test/images/lib.sh
. ../images/lib.sh

version=$1 sums=$PWD/../k3s/go.sum
readonly programs=(kubeadm kubectl kubelet kube-apiserver kube-controller-manager kube-scheduler kube-proxy)
arch=$(go env GOARCH)
begin kubernetes "$cache/kubernetes-$version-$arch"

dir=$(download "k8s.io/kubernetes@$version")
mkdir -p "$part/.src"
cp -R "$dir/." "$part/.src"
chmod -R u+w "$part/.src"
cd "$part/.src"
rm -rf vendor go.work go.work.sum
parts=v0.${version#v1.} minor=$(cut -d . -f 2 <<<"$version")
sed -i -E "s#^(\s*)(k8s.io/[a-z-]+) => ./staging/src/k8s.io/[a-z-]+\$#\1\2 => \2 $parts#" go.mod
# one part is published by k3s only; its digest is the one that test/k3s pins
if [[ $version == v1.33.2 ]]; then
	external=github.com/k3s-io/kubernetes/staging/src/k8s.io/externaljwt
	sed -i "s#k8s.io/externaljwt => .*#k8s.io/externaljwt => $external v1.33.2-k3s1#" go.mod
	grep "^$external v1.33.2-k3s1" "$sums" >>go.sum
fi
flags="-s -w"
for base in k8s.io/client-go/pkg k8s.io/component-base; do
	flags="$flags -X $base/version.gitVersion=$version -X $base/version.gitTreeState=clean -X $base/version.gitMajor=1 -X $base/version.gitMinor=$minor"
done
for program in "${programs[@]}"; do
	say "building $program"
	GOWORK=off GOFLAGS=-mod=mod CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$flags" -o "$part/$program" "./cmd/$program"
done
finish
