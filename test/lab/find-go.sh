#!/usr/bin/env bash
# Prints the folder of a Go that is at least what go.mod wants; fails when there is none. sudo drops PATH, and Debian's own
# Go may be old, so it looks in the usual places too.
set -euo pipefail
cd "$(dirname "$0")/../.."
cache=${PIPEOPS_CACHE:-/var/cache/pipeops-agent}
home=$(getent passwd "${SUDO_USER:-$(id -un)}" | cut -d : -f 6)
want=go$(awk '$1 == "go" {print $2; exit}' go.mod)
for go in "$(command -v go || true)" /usr/local/go/bin/go "$home"/go/bin/go "$home"/sdk/go*/bin/go /usr/lib/go/bin/go "$cache"/go*/bin/go; do
	[[ -x $go ]] || continue
	have=$(GOTOOLCHAIN=local "$go" env GOVERSION 2>/dev/null) || continue
	if [[ $(printf '%s\n%s\n' "$want" "${have%% *}" | sort -V | head -n 1) == "$want" ]]; then
		dirname "$go"
		exit 0
	fi
done
exit 1
