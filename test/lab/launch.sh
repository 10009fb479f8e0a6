#!/bin/sh
# Runs one machine until it is powered off: launch.sh NAME MEMORY-LIMIT PIDFILE COMMAND...
# It starts in a mount namespace of its own.
set -eu
name=$1 memory=$2 pidfile=$3
shift 3

# One cgroup per machine and hierarchy, so that the machine's root is not the host's and all of it can be found again.
# This shell stays outside: with cgroup v2 a cgroup with a process in it cannot give controllers to those below.
prepare() {
	# anew at every boot: what the last one left below may forbid processes here
	if [ -d "$1/plab-$name" ]; then find "$1/plab-$name" -depth -type d -exec rmdir {} \; 2>/dev/null || true; fi
	mkdir -p "$1/plab-$name"
	if [ -e "$1/plab-$name/cpuset.cpus" ] && [ -e "$1/tasks" ]; then # v1: empty until somebody fills them
		cat "$1/cpuset.cpus" >"$1/plab-$name/cpuset.cpus"
		cat "$1/cpuset.mems" >"$1/plab-$name/cpuset.mems"
	fi
	if [ "$memory" != 0 ]; then
		for limit in memory.limit_in_bytes memory.max; do
			if [ -e "$1/plab-$name/$limit" ]; then echo "$memory" >"$1/plab-$name/$limit"; fi
		done
	fi
	groups="$groups $1/plab-$name/cgroup.procs"
}
prepare_all() {
	groups=
	if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
		read -r controllers </sys/fs/cgroup/cgroup.controllers
		for controller in $controllers; do
			echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
		done
		prepare /sys/fs/cgroup
	else
		for hierarchy in /sys/fs/cgroup/*/; do
			if [ -e "$hierarchy/cgroup.procs" ]; then prepare "${hierarchy%/}"; fi
		done
	fi
}

# systemd-nspawn does not start a machine again whose folder below /run it finds: give it a private one.
mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn

code=133 # what systemd-nspawn exits with when the machine asked for a reboot
while [ "$code" = 133 ]; do
	prepare_all
	# shellcheck disable=SC2016 # for the inner shell
	sh -c 'for group in $0; do echo $$ >"$group"; done; exec "$@"' "$groups" "$@" &
	echo $! >"$pidfile.new"
	mv "$pidfile.new" "$pidfile" # a reader sees a whole number
	code=0
	wait $! || code=$?
done
exit "$code"
