package reason

// The codes. Keep them grouped as the catalogue is.
const (
	Usage Code = "USAGE"

	HostNotRoot          Code = "HOST_NOT_ROOT"
	HostOS               Code = "HOST_OS"
	HostArch             Code = "HOST_ARCH"
	HostKernel           Code = "HOST_KERNEL"
	HostCPU              Code = "HOST_CPU"
	HostMemoryLow        Code = "HOST_MEMORY_LOW"
	HostDiskLow          Code = "HOST_DISK_LOW"
	HostDiskType         Code = "HOST_DISK_TYPE"
	HostReadOnly         Code = "HOST_READ_ONLY"
	HostNoSystemd        Code = "HOST_NO_SYSTEMD"
	HostCgroupV1         Code = "HOST_CGROUP_V1"
	HostCgroupController Code = "HOST_CGROUP_CONTROLLER"
	HostContainerNesting Code = "HOST_CONTAINER_NESTING"
	HostWSL1             Code = "HOST_WSL1"
	HostOpenVZ           Code = "HOST_OPENVZ"
	HostOOMScore         Code = "HOST_OOM_SCORE"
	NetPortTaken         Code = "NET_PORT_TAKEN"
	DockerUnreachable    Code = "DOCKER_UNREACHABLE"

	ClusterDebris      Code = "CLUSTER_DEBRIS"
	ClusterForeign     Code = "CLUSTER_FOREIGN"
	ClusterNone        Code = "CLUSTER_NONE"
	ClusterSeveral     Code = "CLUSTER_SEVERAL"
	ClusterUnhealthy   Code = "CLUSTER_UNHEALTHY"
	DistroNotAvailable Code = "DISTRO_NOT_AVAILABLE"
	DistroNoneFits     Code = "DISTRO_NONE_FITS"
	ConsentNeeded      Code = "CONSENT_NEEDED"
	RebootNeeded       Code = "REBOOT_NEEDED"

	DownloadFailed    Code = "DOWNLOAD_FAILED"
	DownloadTruncated Code = "DOWNLOAD_TRUNCATED"
	DownloadDigest    Code = "DOWNLOAD_DIGEST"
	DownloadNoSpace   Code = "DOWNLOAD_NO_SPACE"

	StepFailed        Code = "STEP_FAILED"
	StepNotRolledBack Code = "STEP_NOT_ROLLED_BACK"
	Busy              Code = "BUSY"
	Interrupted       Code = "INTERRUPTED"

	GatewayUnreachable  Code = "GATEWAY_UNREACHABLE"
	GatewayUntrusted    Code = "GATEWAY_UNTRUSTED"
	GatewayRefused      Code = "GATEWAY_REFUSED"
	TokenMalformed      Code = "TOKEN_MALFORMED"
	TokenUnknown        Code = "TOKEN_UNKNOWN"
	TokenUsed           Code = "TOKEN_USED"
	TokenExpired        Code = "TOKEN_EXPIRED"
	IdentityMissing     Code = "IDENTITY_MISSING"
	AlreadyEnrolled     Code = "ALREADY_ENROLLED"
	ClusterNameTaken    Code = "CLUSTER_NAME_TAKEN"
	ClusterNotConnected Code = "CLUSTER_NOT_CONNECTED"
	ProjectUnknown      Code = "PROJECT_UNKNOWN"
	ProjectUnreachable  Code = "PROJECT_UNREACHABLE"
	UserMissing         Code = "USER_MISSING"
	CertificateExpired  Code = "CERTIFICATE_EXPIRED"
	IdentityRevoked     Code = "IDENTITY_REVOKED"
	SessionReplaced     Code = "SESSION_REPLACED"
	SessionLost         Code = "SESSION_LOST"
	GatewayStopping     Code = "GATEWAY_STOPPING"
	GatewayNotRunning   Code = "GATEWAY_NOT_RUNNING"
	ClusterUnknown      Code = "CLUSTER_UNKNOWN"
	ProjectInvalid      Code = "PROJECT_INVALID"
	UserRefused         Code = "USER_REFUSED"
	AgentNotRunning     Code = "AGENT_NOT_RUNNING"
)

// All returns the catalogue in the order of the documentation.
func All() []Entry {
	return []Entry{
		{Usage, ExitUsage, "the command line is not understood", "see --help", Here, CostNone},

		{HostNotRoot, ExitHostRefused, "root is needed", "run the command again with sudo", Here, CostNone},
		{HostOS, ExitHostRefused, "this operating system is not supported", "use a Linux machine", Here, CostNone},
		{HostArch, ExitHostRefused, "this architecture is not supported", "use an amd64 or arm64 machine with a 64-bit userland", Here, CostNone},
		{HostKernel, ExitHostRefused, "the kernel is too old", "upgrade the operating system to one with a newer kernel", Here, CostReboot},
		{HostCPU, ExitHostRefused, "too few CPUs", "give the machine more CPUs", OuterHost, CostOuterHost},
		{HostMemoryLow, ExitHostRefused, "too little memory", "give the machine more memory", OuterHost, CostOuterHost},
		{HostDiskLow, ExitHostRefused, "too little free disk space", "free space on the file system that is named, or enlarge it", Here, CostNone},
		{HostDiskType, ExitHostRefused, "the data directory is on a file system that cannot hold a cluster", "put the data directory on a local disk", Here, CostNone},
		{HostReadOnly, ExitHostRefused, "a directory that must be written is read-only", "remount it writable", Here, CostNone},
		{HostNoSystemd, ExitHostRefused, "systemd is not running as the init system", "boot the machine with systemd", Here, CostReboot},
		{HostCgroupV1, ExitHostRefused, "the machine uses cgroup v1, which this Kubernetes version refuses", "boot with systemd.unified_cgroup_hierarchy=1", Here, CostReboot},
		{HostCgroupController, ExitHostRefused, "a cgroup controller that Kubernetes needs is missing", "enable the controller on the kernel command line and reboot", Here, CostReboot},
		{HostContainerNesting, ExitOuterHost, "this container is not allowed to run containers", "allow nesting for this container on its host, or use a virtual machine", OuterHost, CostOuterHost},
		{HostWSL1, ExitHostRefused, "WSL 1 has no Linux kernel", "convert the distribution in PowerShell: wsl --set-version <name> 2", OuterHost, CostOuterHost},
		{HostOpenVZ, ExitHostRefused, "OpenVZ containers cannot run Kubernetes", "move to a plan with full (KVM) virtualization", OuterHost, CostOuterHost},
		{HostOOMScore, ExitHostRefused, "processes here may not lower their oom_score_adj", "containerd is configured with restrict_oom_score_adj", Here, CostNone},
		{NetPortTaken, ExitHostRefused, "a port that the cluster needs is taken", "stop the program that is named, or move it to another port", Here, CostNone},
		{DockerUnreachable, ExitHostRefused, "no Docker engine answers", "install Docker and start it", Here, CostPackage},

		{ClusterDebris, ExitHostRefused, "remains of an earlier cluster are in the way", "remove what is listed (for k3s: k3s-uninstall.sh), then run the command again", Here, CostNone},
		{ClusterForeign, ExitHostRefused, "a cluster that pipeops-agent did not install is already here", "adopt it with --distro existing, or remove it first", Here, CostNone},
		{ClusterNone, ExitHostRefused, "there is no cluster to adopt", "install one with --distro auto", Here, CostNone},
		{ClusterSeveral, ExitHostRefused, "several clusters are here", "name the one to adopt with --kubeconfig", Here, CostNone},
		{ClusterUnhealthy, ExitUnhealthy, "the cluster does not become healthy", "see pipeops-agent status and journalctl -u k3s", Here, CostNone},
		{DistroNotAvailable, ExitHostRefused, "this version of pipeops-agent cannot install that distribution yet", "choose --distro k3s or --distro existing", Here, CostNone},
		{DistroNoneFits, ExitHostRefused, "no distribution fits this machine", "see the reasons for each", Here, CostNone},
		{ConsentNeeded, ExitWaiver, "a change that needs your consent", "run again with --consent package (or reboot)", Here, CostPackage},
		{RebootNeeded, ExitReboot, "the machine must be rebooted", "reboot now, then run the command again: it resumes", Here, CostReboot},

		{DownloadFailed, ExitDownload, "a download failed", "check the network and the mirror, then run the command again: it resumes", Mirror, CostNone},
		{DownloadTruncated, ExitDownload, "a download was cut", "run the command again: it resumes where it was cut", Mirror, CostNone},
		{DownloadDigest, ExitDownload, "a downloaded file is not the one that was released", "use another mirror; nothing of the file was kept", Mirror, CostNone},
		{DownloadNoSpace, ExitDownload, "there is no space for a download", "free space on the file system that is named, then run the command again", Here, CostNone},

		{StepFailed, ExitRolledBack, "a step failed and was rolled back", "mend the cause, then run the command again: it resumes", Here, CostNone},
		{StepNotRolledBack, ExitNotRolledBack, "a step failed and could not be rolled back", "mend the cause, then run the command again: it resumes", Here, CostNone},
		{Interrupted, ExitBusy, "the command was stopped before its end", "run it again: it goes on where it was", Here, CostNone},
		{Busy, ExitBusy, "another pipeops-agent is changing this machine", "wait for it to end, then run the command again", Here, CostNone},

		{GatewayUnreachable, ExitTunnel, "the gateway does not answer", "check the address, the network and that pipeops-gateway serve is running", Gateway, CostNone},
		{GatewayUntrusted, ExitTunnel, "the gateway is not the one that made the token", "check --gateway; if the connection is intercepted by a proxy, exempt the gateway from it", Gateway, CostNone},
		{GatewayRefused, ExitTunnel, "the gateway refused the request", "see the evidence and the gateway's log", Gateway, CostNone},
		{TokenMalformed, ExitTunnel, "the join token is not complete", "copy the whole token, pat_<id>.<secret>.<digest>, or make another one: pipeops-gateway token create", Gateway, CostNone},
		{TokenUnknown, ExitTunnel, "the gateway does not know this join token", "make another one: pipeops-gateway token create", Gateway, CostNone},
		{TokenUsed, ExitTunnel, "the join token has been used", "make another one: pipeops-gateway token create", Gateway, CostNone},
		{TokenExpired, ExitTunnel, "the join token has expired", "make another one: pipeops-gateway token create", Gateway, CostNone},
		{IdentityMissing, ExitTunnel, "this machine is not enrolled", "run pipeops-agent install with --gateway and --token-file", Here, CostNone},
		{AlreadyEnrolled, ExitTunnel, "this machine is enrolled already", "run install with the same --gateway and --cluster, or with neither", Here, CostNone},
		{ClusterNameTaken, ExitTunnel, "the gateway has another cluster of this name", "choose another one with --cluster", Gateway, CostNone},
		{ClusterNotConnected, ExitTunnel, "the cluster is not connected to the gateway", "see pipeops-agent status on the machine", Here, CostNone},
		{ProjectUnknown, ExitTunnel, "there is no such project on the cluster", "see pipeops-gateway project list", Gateway, CostNone},
		{ProjectUnreachable, ExitTunnel, "the project does not answer", "see pipeops-gateway project status for its pods", Gateway, CostNone},
		{UserMissing, ExitTunnel, "a request came without the user for whom it is made", "update the gateway: it must name the user", Gateway, CostNone},
		{CertificateExpired, ExitTunnel, "the certificate of this machine has expired", "nothing: the agent renews it when it next reaches the gateway", Here, CostNone},
		{IdentityRevoked, ExitTunnel, "the gateway no longer accepts the identity of this machine", "enrol again with a token made for this cluster: pipeops-gateway token create --cluster", Gateway, CostNone},
		{SessionReplaced, ExitTunnel, "another connection with the identity of this machine took over", "if this machine was cloned, enrol the clone under a name of its own", Here, CostNone},
		{SessionLost, ExitTunnel, "the connection to the gateway was lost", "nothing: the agent connects again by itself", Here, CostNone},
		{GatewayStopping, ExitTunnel, "the gateway is stopping", "nothing: the agent connects again when the gateway is back", Gateway, CostNone},
		{GatewayNotRunning, ExitTunnel, "no gateway is running on this machine", "start it: pipeops-gateway serve; if it uses another folder, name it with --data", Gateway, CostNone},
		{ClusterUnknown, ExitTunnel, "the gateway has no such cluster", "see pipeops-gateway clusters", Gateway, CostNone},
		{ProjectInvalid, ExitUsage, "the project file is not valid", "mend what is named in the file", Gateway, CostNone},
		{UserRefused, ExitTunnel, "the user token is not accepted", "make another one: pipeops-gateway kubeconfig", Gateway, CostNone},
		{AgentNotRunning, ExitUnhealthy, "the agent is not running on this machine", "systemctl start pipeops-agent", Here, CostNone},
	}
}
