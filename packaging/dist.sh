#!/usr/bin/env bash
# Makes the release folder dist/ for the architectures that are named: VERSION=v1.2.3 LDFLAGS=... packaging/dist.sh amd64 arm64
# The folder is laid out as the release page and every mirror of it: install.sh finds the rest beside itself.
#
# RELEASE_KEY is the private key that signs manifest.json (beside it lies its public half, .pub; packaging/manifest makes
# both), RELEASE_TRUST the set of keys that is compiled into the agent; without it that one key. K3S_RELEASE_DIR is a folder
# with a release of k3s that the manifest lists too; K3S_RELEASE_VERSION its version, if it is not the agent's default.
# RELEASE_SOURCES are more of what `manifest make` takes, such as a mirror's folder with earlier releases. RELEASE_ROTATIONS
# is the folder with trust-2.json and so on up to RELEASE_TRUST. docs/releases.md tells how a release is made.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${VERSION:?}" "${LDFLAGS:?}"
(($#)) || set -- amd64 arm64
unset GOOS GOARCH # for the tools, which run here

# the same sources give the same bytes, whenever they are packed
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 1767225600)
export VERSION SOURCE_DATE_EPOCH CGO_ENABLED=0
# whoever uses the last dist/ meanwhile keeps a whole one
out=.cache/dist work=.cache/dist-work
rm -rf "$out" "$work"
mkdir -p "$out" "$work/completion"
nfpm=$work/nfpm
go build -o "$nfpm" -modfile=tools/go.mod github.com/goreleaser/nfpm/v2/cmd/nfpm

# who signs: without a key of a release, one that is made on this machine
manifest=$work/manifest
go build -o "$manifest" ./packaging/manifest
key=${RELEASE_KEY:-.cache/development.key} name=pipeops
if [[ -z ${RELEASE_KEY:-} ]]; then
	name=development
	[[ -e $key ]] || "$manifest" keygen --development "$key" >/dev/null
	{
		echo "dist: ******************************************************************************************"
		echo "dist: RELEASE_KEY is not set: manifest.json is signed with the DEVELOPMENT key $key, and these"
		echo "dist: programs trust it. Whoever has that file decides what they install. Do not publish them."
		echo "dist: ******************************************************************************************"
	} >&2
fi
trust=$out/trust.json
# no manifest from before these sources is taken
if [[ -n ${RELEASE_TRUST:-} ]]; then
	"$manifest" trust --of "$RELEASE_TRUST" --floor "$SOURCE_DATE_EPOCH" --out "$trust"
else
	"$manifest" trust --name "$name" --floor "$SOURCE_DATE_EPOCH" --out "$trust" "$key.pub"
fi
# a machine that has an older program finds the way to today's keys beside the manifest
serial=$("$manifest" show "$trust" | sed -n 's/^trust \([0-9]*\) of .*/\1/p')
for ((n = 2; n <= serial; n++)); do
	cp "${RELEASE_ROTATIONS:?is not set, and RELEASE_TRUST is number $serial: name the folder with the documents that lead to it}/trust-$n.json" "$out/"
done
LDFLAGS+=" -X github.com/pipeopshq/pipeops-agent/internal/version.built=$SOURCE_DATE_EPOCH"
LDFLAGS+=" -X github.com/pipeopshq/pipeops-agent/internal/artifact/manifest.compiled=$(base64 -w 0 <"$trust")"

# completions come from the program as it runs here
go build -trimpath -ldflags "$LDFLAGS" -o "$work/here" ./cmd/pipeops-agent
"$work/here" completion bash >"$work/completion/pipeops-agent.bash"
"$work/here" completion zsh >"$work/completion/_pipeops-agent"
"$work/here" completion fish >"$work/completion/pipeops-agent.fish"

for ARCH in "$@"; do
	echo "dist: $VERSION for $ARCH"
	export ARCH BUILD=$work/$ARCH
	mkdir -p "$BUILD"
	ln -s ../completion "$BUILD/completion"
	for program in pipeops-agent pipeops-gateway; do
		GOOS=linux GOARCH=$ARCH go build -trimpath -ldflags "$LDFLAGS" -o "$BUILD/$program" "./cmd/$program"
		cp "$BUILD/$program" "$out/$program-linux-$ARCH"
	done
	cp LICENSE README.md install.sh systemd/*.service packaging/config.yaml "$BUILD"
	tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" --transform="s,^\./,pipeops-agent-$VERSION/," \
		-C "$BUILD" --exclude=./completion -cf - . | gzip -n >"$out/pipeops-agent-$VERSION-linux-$ARCH.tar.gz"
	for packager in deb rpm; do
		"$nfpm" package --config packaging/nfpm.yaml --packager "$packager" --target "$out/" >/dev/null
	done
done

sum() { # sum ARCH: of the agent's program; what was not built keeps its place open
	if [[ -e $out/pipeops-agent-linux-$1 ]]; then
		sha256sum "$out/pipeops-agent-linux-$1" | cut -d ' ' -f 1
	else
		echo "@SHA256_${1^^}@"
	fi
}
sed -e "s/@VERSION@/$VERSION/" -e "s/@SHA256_AMD64@/$(sum amd64)/" -e "s/@SHA256_ARM64@/$(sum arm64)/" install.sh >"$out/install.sh"
chmod 0755 "$out/install.sh"

sources=("pipeopshq/pipeops-agent/releases/download/$VERSION=$out")
if [[ -n ${K3S_RELEASE_DIR:-} ]]; then
	: "${K3S_RELEASE_VERSION:=$(sed -n 's/^const K3sVersion = "\(.*\)"$/\1/p' internal/distro/install.go)}"
	sources+=("k3s-io/k3s/releases/download/$K3S_RELEASE_VERSION=$K3S_RELEASE_DIR")
fi
read -ra more <<<"${RELEASE_SOURCES:-}"
sources+=("${more[@]}")
"$manifest" make --out "$work/list.json" "${sources[@]}"
if ! grep -q '"product": "k3s"' "$work/list.json"; then
	echo "dist: manifest.json lists no k3s: no machine can install by it. Set K3S_RELEASE_DIR or RELEASE_SOURCES before you publish it." >&2
fi
"$manifest" sign --key "$key" --out "$out/manifest.json" "$work/list.json"
"$manifest" verify --trust "$trust" "$out/manifest.json" "${sources[@]}"
rm -rf "$work"
(cd "$out" && sha256sum -- * >.sums && mv .sums sha256sums)
rm -rf dist
mv "$out" dist
ls -l dist
