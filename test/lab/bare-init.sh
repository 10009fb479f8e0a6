#!/bin/sh
# The first process of a machine that has no init: it starts no service, and only waits for what has ended.
/usr/local/sbin/lab-hardware
ip link set lo up
touch /run/lab-booted
if [ -x /etc/lab-first ]; then exec /etc/lab-first; fi
if [ -x /etc/lab-boot ]; then /etc/lab-boot & fi
trap 'exit 0' TERM INT
while :; do
	sleep 1000 &
	wait $!
done
