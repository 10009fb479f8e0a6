#!/usr/bin/env bash
# Installs what building, testing and the demo need on a Debian or Ubuntu machine, Go included. Safe to repeat.
# Run it as root: sudo bash test/lab/setup.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

die() {
	echo "setup: $*" >&2
	exit 1
}

# program:package; what is there is not asked for
readonly needs=(make:make git:git gcc:gcc shellcheck:shellcheck curl:curl wget:wget unzip:unzip dash:dash
	busybox:busybox mmdebstrap:mmdebstrap systemd-nspawn:systemd-container ip:iproute2 iptables:iptables nft:nftables
	nsenter:util-linux zstd:zstd rpm:rpm)

packages() {
	local missing=() need
	for need in "${needs[@]}"; do
		command -v "${need%%:*}" >/dev/null || missing+=("${need##*:}")
	done
	[[ -e /etc/ssl/certs/ca-certificates.crt ]] || missing+=(ca-certificates)
	[[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] || missing+=(debian-archive-keyring)
	[[ -e /usr/include/stdio.h ]] || missing+=(libc6-dev)
	compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql) # tests of the gateway start servers of their own
	((${#missing[@]})) || return 0
	command -v apt-get >/dev/null || die "missing: ${missing[*]}; this is no Debian or Ubuntu machine, so install them yourself"
	[[ $EUID == 0 ]] || die "missing: ${missing[*]}; run this as root: sudo bash test/lab/setup.sh"
	echo "setup: installing ${missing[*]}"
	if [[ " ${missing[*]} " == *' postgresql '* && ! -e /etc/postgresql-common/createcluster.conf ]]; then
		mkdir -p /etc/postgresql-common # no server that nobody asked for
		echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
	fi
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# The toolchain that the Go project publishes as a module, with the digests of those files.
readonly toolchain=go1.26.8
declare -rA digests=(
	[amd64]=30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7
	[arm64]=02b36b6787b3ac767668f630e2998df45a3b1f9ffee08d1bf3ef6487cd658d99
)

fetch_go() {
	local arch proxy module cache=${PIPEOPS_CACHE:-/var/cache/pipeops-agent}
	case $(uname -m) in
	x86_64) arch=amd64 ;;
	aarch64) arch=arm64 ;;
	*) die "install Go ${toolchain#go} or newer: none is pinned here for $(uname -m)" ;;
	esac
	mkdir -p "$cache" || die "no Go ${toolchain#go} or newer here; install it, or run this as root: sudo bash test/lab/setup.sh"
	proxy=${GOPROXY:-https://proxy.golang.org} # its first server, as go itself would
	proxy=${proxy%%[,|]*}
	[[ $proxy == http* ]] || proxy=https://proxy.golang.org
	module=golang.org/toolchain@v0.0.1-$toolchain.linux-$arch
	local url=${proxy%/}/${module/@//@v/}.zip part=$cache/.$toolchain.part
	echo "setup: fetching Go from $url"
	rm -rf "$part"
	mkdir "$part"
	curl -fsSL --retry 3 -o "$part/zip" "$url" || die "cannot download $url; install Go ${toolchain#go} or newer by hand"
	echo "${digests[$arch]}  $part/zip" | sha256sum --check --quiet - || die "$url is not the file that was pinned"
	unzip -q "$part/zip" -d "$part"
	# zip files of modules carry no modes
	find "$part/$module/bin" "$part/$module/pkg/tool" -type f -exec chmod a+x {} +
	rm -rf "${cache:?}/$toolchain"
	mv "$part/$module" "$cache/$toolchain"
	rm -rf "$part"
}

packages
bin=$(bash test/lab/find-go.sh) || { fetch_go && bin=$(bash test/lab/find-go.sh); } || die "the Go that was fetched does not run here"
echo "setup: ready, with $("$bin/go" env GOVERSION) from $bin"
