#!/bin/sh
# Remove keeps settings, identity and journal, so that the package can come back as it was. Purge (dpkg only) deletes them, but
# not the ledger while a cluster of ours is there: it alone knows how to undo the install. The cluster is never touched.
set -e
case $1 in
purge)
	rm -rf --one-file-system /etc/pipeops-agent /var/lib/pipeops-agent/identity
	if grep -qs '^# Written by pipeops-agent' /etc/systemd/system/k3s.service /etc/init.d/k3s; then
		echo "The cluster stays, and so does /var/lib/pipeops-agent. To remove them, install the package again and run: pipeops-agent uninstall"
	else
		rm -rf --one-file-system /var/lib/pipeops-agent
	fi
	;;
remove | 0) ;;
*) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
