#!/bin/sh
# dpkg says remove, upgrade or deconfigure; rpm 0 for the last removal. The agent goes, the cluster and what the agent knows stay.
set -e
case $1 in
remove | 0) ;;
*) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then systemctl stop pipeops-agent.service || true; fi
if command -v systemctl >/dev/null; then systemctl disable --quiet pipeops-agent.service || true; fi
