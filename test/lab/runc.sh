#!/bin/sh
# Runs runc where this host lacks capabilities that Docker takes for granted: what nobody here has, runc is not asked for.
# It lies in front of runc in the PATH of every service, so that Docker is as Debian delivers it.
set -eu

runc=/usr/sbin/runc
[ -x "$runc" ] || { echo "runc: no $runc here" >&2; exit 127; }
bounds=$(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/self/status)
if [ $((0x$bounds >> 24 & 1)) = 1 ]; then # CAP_SYS_RESOURCE
	exec "$runc" "$@"
fi
files=
previous=
for argument; do
	case $previous in
	--bundle | -b) files="$files $argument/config.json" ;;
	--process | -p) files="$files $argument" ;;
	esac
	previous=$argument
done
for f in $files; do
	if [ -f "$f" ]; then
		sed -i -e 's/"CAP_SYS_RESOURCE",//g' -e 's/,\{0,1\}"CAP_SYS_RESOURCE"//g' -e 's/"oomScoreAdj":-[0-9]*,//' "$f"
	fi
done
exec "$runc" "$@"
