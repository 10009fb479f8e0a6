package reason

// explainInstall explains what may happen to a command: on its line, while it downloads, while it changes things.
func explainInstall(code Code) string {
	switch code {
	case "USAGE":
		return "A flag, an argument or a setting is not one that the command knows, or two exclude each other. Nothing was done."
	case "DOWNLOAD_FAILED":
		return "The server does not answer, refuses, or sends less than it promised, after several attempts with growing pauses. What has arrived is kept, and the next attempt goes on from there."
	case "DOWNLOAD_TRUNCATED":
		return "The connection ended before the whole file had come. What has arrived is kept, and the next attempt goes on from there."
	case "DOWNLOAD_DIGEST":
		return "The SHA-256 of the file (or its length) is not the one in the signed manifest: it was damaged or exchanged on its way, or the mirror holds another version. Such a file is never used."
	case "DOWNLOAD_NO_SPACE":
		return "The file system that holds the agent's state is full. The space is looked at before a download begins and while it runs."
	case "STEP_FAILED":
		return "A step of the plan failed, or its effect could not be proved in time; what it had changed was put back from the ledger. The steps before it stay done, and the next run goes on with this one."
	case "STEP_NOT_ROLLED_BACK":
		return "A step failed, and something that it had changed could not be put back. The ledger below /var/lib/pipeops-agent names each change with what was there before."
	case "UNINSTALL_INCOMPLETE":
		return "A change that an install had made could not be undone, and what came before it may still be in use, so nothing further was touched. The agent's state is kept: the next uninstall goes on with this change."
	case "UNINSTALL_REMAINS":
		return "All changes are undone, but the machine differs from the record of how it was before the first install, in what may come from an install: files, unit files, values of the kernel, chains of the firewall, mounts, links, ports. What you have changed yourself, or what was left for a reason that was printed, is not counted."
	case "INTERRUPTED":
		return "A signal ended the command: somebody stopped it, or an install by hand took over from the one that was going on by itself. The journal says where it was; the next run goes on there."
	case "NOT_RESUMED":
		return "An install that was killed, or cut off by a reboot, is gone on with by pipeops-agent-resume.service. It has given up: the last attempts, which are counted over reboots, came no further than those before, or the note of what was to be done (resume.json in the agent's state folder) cannot be used. The journal of that unit and the log of the cluster say why."
	case "BUSY":
		return "Another install or uninstall, which somebody has started, holds the lock of this machine. The lock is the kernel's: it is free as soon as that process has ended, however it ended. It is waited for only if --wait is given."
	case "AGENT_NOT_RUNNING":
		return "Nobody answers at the agent's local socket: its service is stopped or fails at its start. journalctl -u pipeops-agent says why."
	case "SUPERVISOR_UNREACHABLE":
		return "Where neither systemd nor OpenRC runs, pipeops-agent run --supervise owns the processes of the cluster and of the agent. Nobody answers on its socket /run/pipeops-agent/supervisor.sock: it was not started, or has ended; /var/log/pipeops-agent-supervisor.log says why. What it has started may run on, and is taken over by the next one."
	}
	return ""
}
