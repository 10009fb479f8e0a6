#!/bin/sh
# Remove keeps settings, identity and journal, so that the package can come back as it was. Purge (dpkg only) deletes them. The
# cluster is never touched.
set -e
case $1 in
purge) rm -rf --one-file-system /etc/pipeops-agent /var/lib/pipeops-agent ;;
remove | 0) ;;
*) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
