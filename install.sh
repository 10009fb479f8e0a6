#!/bin/sh
# Puts pipeops-agent on this machine and starts its own install, unattended:
#
#   curl -fsSL https://github.com/pipeopshq/pipeops-agent/releases/latest/download/install.sh |
#     sudo PIPEOPS_GATEWAY=gateway.example.com:8443 PIPEOPS_TOKEN_FILE=/root/token PIPEOPS_CLUSTER=shop sh
#
# Arguments go to `pipeops-agent install`: ... | sudo sh -s -- --cluster shop; or, where the first names another command, to
# that: ... | sudo sh -s -- version puts the program on this machine and does nothing else, plan shows what install would do.
# Settings of this script: PIPEOPS_DOWNLOAD_URL, the folder of a release; PIPEOPS_BIN_DIR, where the program goes (else
# /usr/local/bin, or /opt/bin where that is read-only). All others are read by the program: PIPEOPS_GATEWAY,
# PIPEOPS_TOKEN_FILE or PIPEOPS_TOKEN, PIPEOPS_CLUSTER, PIPEOPS_MIRROR, PIPEOPS_TRUST, PIPEOPS_PROXY.
#
# It finds the architecture, downloads one file, checks its SHA-256 and puts it in place. It looks at nothing else: what
# this machine is fit for, the program decides. Exit codes are the program's: 10 this machine is refused, 20 download.
set -eu

refuse() {
	code=$1
	shift
	echo "install.sh: $*" >&2
	exit "$code"
}

# fetch URL FILE: the token is no business of the program that downloads, and the proxy of the agent is its proxy.
fetch() (
	unset PIPEOPS_TOKEN
	case ${PIPEOPS_PROXY:-} in
	'') ;;
	none) unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY ;;
	*) export http_proxy="$PIPEOPS_PROXY" https_proxy="$PIPEOPS_PROXY" no_proxy="${PIPEOPS_NO_PROXY:-${no_proxy:-${NO_PROXY:-}}}" ;;
	esac
	case $1 in
	http:*) allowed='=http,https' ;;
	*) allowed='=https' ;; # nobody on the way leads to plain http
	esac
	if command -v curl >/dev/null; then
		curl -fsSL --proto-redir "$allowed" --retry 3 --connect-timeout 30 --speed-limit 1000 --speed-time 60 -o "$2" "$1"
	elif command -v wget >/dev/null; then
		wget -q -O "$2" "$1" # with -T too, the busybox of Debian 12 crashes
	else
		refuse 20 "neither curl nor wget is here; install one of them"
	fi
)

# digest FILE
digest() {
	sha256sum "$1" | cut -d ' ' -f 1
}

main() {
	# filled in when a release is made; else sha256sums beside the program is asked
	version='@VERSION@' amd64='@SHA256_AMD64@' arm64='@SHA256_ARM64@'

	[ "$(uname -s)" = Linux ] || refuse 10 "this is no Linux machine"
	[ "$(id -u)" = 0 ] || refuse 10 "root is needed; run this again with sudo"
	case $(uname -m) in
	x86_64 | amd64) arch=amd64 want=$amd64 ;;
	aarch64 | arm64) arch=arm64 want=$arm64 ;;
	*) refuse 10 "there is no pipeops-agent for $(uname -m); use an amd64 or arm64 machine" ;;
	esac
	url=${PIPEOPS_DOWNLOAD_URL:-https://github.com/pipeopshq/pipeops-agent/releases/latest/download}
	program=pipeops-agent-linux-$arch

	# beside the destination, so that the last move is atomic
	part=
	for dir in ${PIPEOPS_BIN_DIR:-/usr/local/bin /opt/bin}; do
		if mkdir -p "$dir" 2>/dev/null && part=$(mktemp "$dir/.pipeops-agent.XXXXXX" 2>/dev/null); then break; fi
		part=
	done
	[ -n "$part" ] || refuse 10 "cannot write to ${PIPEOPS_BIN_DIR:-/usr/local/bin or /opt/bin}; name a folder for programs with PIPEOPS_BIN_DIR"
	trap 'rm -f "$part"' EXIT
	trap 'exit 130' HUP INT TERM

	case $want in
	@*)
		version=
		fetch "$url/sha256sums" "$part" || refuse 20 "cannot download $url/sha256sums; check the network and PIPEOPS_DOWNLOAD_URL"
		want=$(sed -n "s/^\([0-9a-f]*\) [ *]$program\$/\1/p" "$part")
		[ -n "$want" ] || refuse 20 "$url/sha256sums does not name $program"
		;;
	esac
	if [ ! -f "$dir/pipeops-agent" ] || [ "$(digest "$dir/pipeops-agent")" != "$want" ]; then
		echo "install.sh: downloading pipeops-agent $version for $arch from $url" >&2
		fetch "$url/$program" "$part" || refuse 20 "cannot download $url/$program; check the network and PIPEOPS_DOWNLOAD_URL"
		have=$(digest "$part")
		[ "$have" = "$want" ] || refuse 20 "$url/$program is not the file that was released: its SHA-256 is $have, not $want; nothing of it was kept"
		chmod 0755 "$part"
		mv -f "$part" "$dir/pipeops-agent"
	fi
	rm -f "$part"
	trap - EXIT HUP INT TERM
	case ${1:--} in
	-*) set -- install "$@" ;;
	esac
	# standard input is this script
	exec "$dir/pipeops-agent" "$@" </dev/null
}

# a script that was cut on its way does nothing: without the last byte this is no command
{ main "$@"; }
