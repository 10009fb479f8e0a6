#!/bin/sh
# dpkg says configure [OLD-VERSION], rpm how many of this package will be there: 1 after the first install, more after an
# upgrade. Nothing is downloaded, and an agent that was never enrolled is not started: `pipeops-agent install` does that.
set -e
unit=pipeops-agent.service
running() { [ -d /run/systemd/system ]; }

case $1 in
configure)
	if [ -z "${2:-}" ]; then first=yes; else first=no; fi
	;;
1) first=yes ;;
[0-9]*) first=no ;;
*) exit 0 ;; # dpkg going back after a failure
esac

if running; then systemctl daemon-reload || true; fi
if [ "$first" = yes ]; then
	# only a link for the next boot; an administrator's later "disable" is kept by upgrades
	if command -v systemctl >/dev/null; then systemctl enable --quiet "$unit" pipeops-agent-resume.service pipeops-agent-credential.path || true; fi
	echo "pipeops-agent is here. Next: pipeops-agent plan, then pipeops-agent install --gateway HOST:PORT --token-file FILE"
elif running; then
	# an older version had no account of its own in the cluster: it asks for one as soon as it runs
	if [ -e /var/lib/pipeops-agent/identity/identity.json ] && [ ! -e /var/lib/pipeops-agent/agent.kubeconfig ]; then
		systemctl enable --quiet --now pipeops-agent-credential.path || true
	fi
	systemctl try-restart "$unit" || true
elif [ -d /run/openrc ] && command -v rc-service >/dev/null; then
	rc-service --ifexists --ifstarted pipeops-agent restart || true
fi
