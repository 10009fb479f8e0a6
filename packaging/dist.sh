#!/usr/bin/env bash
# Makes the release folder dist/ for the architectures that are named: VERSION=v1.2.3 LDFLAGS=... packaging/dist.sh amd64 arm64
# The folder is laid out as the release page and every mirror of it: install.sh finds the rest beside itself.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${VERSION:?}" "${LDFLAGS:?}"
(($#)) || set -- amd64 arm64

# the same sources give the same bytes, whenever they are packed
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 1767225600)
export VERSION SOURCE_DATE_EPOCH CGO_ENABLED=0
# whoever uses the last dist/ meanwhile keeps a whole one
out=.cache/dist work=.cache/dist-work
rm -rf "$out" "$work"
mkdir -p "$out" "$work/completion"
nfpm=$work/nfpm
go build -o "$nfpm" -modfile=tools/go.mod github.com/goreleaser/nfpm/v2/cmd/nfpm

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
		GOARCH=$ARCH go build -trimpath -ldflags "$LDFLAGS" -o "$BUILD/$program" "./cmd/$program"
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
rm -rf "$work"
(cd "$out" && sha256sum -- * >.sums && mv .sums sha256sums)
rm -rf dist
mv "$out" dist
ls -l dist
