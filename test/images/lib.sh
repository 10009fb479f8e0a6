# shellcheck shell=bash
# What the scripts have in common that build container images without a container engine. Read by them.

cache=${PIPEOPS_CACHE:-/var/cache/pipeops-agent}
roots=$cache/image-roots # root file systems of Debian, by their packages
images_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
began=$SECONDS

say() { printf '%s: %4d s  %s\n' "$what" $((SECONDS - began)) "$*" >&2; }

# begin NAME FOLDER: ends the script if the folder is there already; else what is made goes to $part until finish. Who comes
# second waits.
begin() {
	what=$1 out=$2 part=$2.part
	mkdir -p "$cache"
	exec 9>"$cache/.$what.lock"
	flock 9
	if [[ -d $out ]]; then
		echo "$out"
		exit 0
	fi
	for tool in mmdebstrap zstd; do
		command -v "$tool" >/dev/null || { echo "$what: $tool is missing; run test/lab/setup.sh" >&2; exit 1; }
	done
	rm -rf "$part"
	mkdir -p "$part"
}

finish() {
	rm -rf "$part"/.[a-z]*
	mv "$part" "$out"
	say "done"
	echo "$out"
}

# download MODULE@VERSION: prints the folder of the module, as the checksum database knows it.
download() {
	local dir
	dir=$(cd / && go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
	[[ -d $dir ]] || { echo "$what: cannot download $1" >&2; return 1; }
	echo "$dir"
}

# build_module MODULE VERSION FILE LDFLAGS: the program of a module, by the module's own go.mod and go.sum.
build_module() {
	local dir file=$part/$3
	say "building $1 $2"
	dir=$(download "$1@$2")
	mkdir -p "$(dirname "$file")"
	(cd "$dir" && GOWORK=off GOFLAGS=-mod=readonly CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w $4" -o "$file" .)
}

# build_package PACKAGE@VERSION FILE: a program whose module can only be built as a part of another, as that of etcd.
build_package() {
	local module
	module=$(mktemp -d "$part/.module-XXXXXX")
	say "building $1"
	(
		cd "$module" || exit
		go mod init module 2>/dev/null
		GOFLAGS=-mod=mod go get "$1" >&2
		GOWORK=off GOFLAGS=-mod=mod CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$2" "${1%@*}"
	)
}

# root_tar NAME PACKAGES [SCRIPT]: a root file system of Debian as $roots/NAME, unless it is there. The script finishes it, in
# the folder $1.
root_tar() {
	local sums
	mkdir -p "$roots"
	sums=$(echo "$2 ${3:-}" | sha256sum)
	if [[ -e $roots/$1 && $(cat "$roots/$1.packages") == "$sums" ]]; then return 0; fi
	say "making a root file system from Debian's packages"
	rm -f "$roots/.$1"
	# shellcheck disable=SC2016 # for the inner shell
	mmdebstrap --quiet --variant=minbase --include="$2" --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
		--customize-hook='rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/etc/hostname "$1"/etc/resolv.conf' --customize-hook="${3:-true}" \
		--format=tar bookworm "$roots/.$1" >&2
	echo "$sums" >"$roots/$1.packages"
	mv "$roots/.$1" "$roots/$1"
}

# layer FOLDER TAR: the folder as a layer of an image; the same files give the same bytes.
layer() {
	tar --sort=name --numeric-owner --owner=0 --group=0 --mtime=@0 -C "$1" -cf "$2" .
}

# tree ARGUMENTS: the command tree of test/images.
# shellcheck disable=SC2154 # arch is the caller's
tree() { (cd "$images_dir" && go run ./tree -arch "$arch" "$@"); }
