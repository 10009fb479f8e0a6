#!/bin/sh
# dpkg says remove, upgrade or deconfigure; rpm 0 for the last removal. The agent goes, the cluster and what the agent knows stay.
set -e
case $1 in
remove | 0) ;;
*) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then systemctl stop pipeops-agent-resume.service pipeops-agent-credential.path pipeops-agent.service || true; fi
if command -v systemctl >/dev/null; then systemctl disable --quiet pipeops-agent-resume.service pipeops-agent-credential.path pipeops-agent.service || true; fi
# where OpenRC starts the services, it was the install that has put ours there
if [ -d /run/openrc ] && command -v rc-service >/dev/null; then
	for service in pipeops-agent-resume pipeops-agent; do
		rc-service --ifexists "$service" stop || true
		rc-update del "$service" default || true
	done
fi
