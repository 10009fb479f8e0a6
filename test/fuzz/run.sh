#!/usr/bin/env bash
# Runs every fuzz target of the module for a while, two at once, and fails if one does.
# usage: run.sh TIME [PACKAGE ...]     TIME as go test takes it: 2m
# What is found is made smaller for a second only: a target that works on files would do nothing else.
set -euo pipefail
time=${1:?usage: run.sh TIME [PACKAGE ...]}
shift
mapfile -t packages < <(go list "${@:-./...}")
targets=()
for package in "${packages[@]}"; do
	while read -r name; do targets+=("$package $name"); done < <(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true)
done
echo "${#targets[@]} fuzz targets, $time each"
# shellcheck disable=SC2016  # the inner shell expands
printf '%s\n' "${targets[@]}" | xargs -P 2 -L 1 bash -c '
	out=$(go test -run "^$" -fuzz "^$3\$" -fuzztime "$1" -fuzzminimizetime 1s -parallel 1 "$2" 2>&1) && { echo "ok    $2 $3: $(grep -o "execs: [0-9]*" <<<"$out" | tail -1)"; exit 0; }
	printf "FAIL  %s %s\n%s\n" "$2" "$3" "$out" | tail -n 40
	exit 1
' fuzz "$time"
