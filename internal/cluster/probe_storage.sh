# shellcheck shell=sh
# Runs in a pod of busybox with a volume at /data: writes 1 MiB, brings it to the disk, and compares what it reads. What
# goes wrong is the last word of the container.
{
	yes pipeops | head -c 1048576 | dd of=/data/proof bs=65536 conv=fsync 2>&1 &&
		want=$(yes pipeops | head -c 1048576 | sha256sum) && got=$(sha256sum </data/proof) &&
		{ [ "$want" = "$got" ] || { echo "what was read is not what was written"; false; }; } &&
		rm /data/proof && exit 0
} >/dev/termination-log
exit 1
