package reason

// The codes. Keep them grouped as the catalogue is.
const (
	Usage Code = "USAGE"

	HostUnseen           Code = "HOST_UNSEEN"
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
	HostNodeName         Code = "HOST_NODE_NAME"
	HostModulesIdle      Code = "HOST_MODULES_IDLE"
	HostRebootPending    Code = "HOST_REBOOT_PENDING"
	HostNetfilter        Code = "HOST_NETFILTER"
	HostVxlan            Code = "HOST_VXLAN"
	HostNamespaces       Code = "HOST_NAMESPACES"
	HostOverlay          Code = "HOST_OVERLAY"
	HostMounts           Code = "HOST_MOUNTS"
	HostUserNamespace    Code = "HOST_USER_NAMESPACE"
	HostKeyring          Code = "HOST_KEYRING"
	HostInotify          Code = "HOST_INOTIFY"
	HostSELinux          Code = "HOST_SELINUX"
	HostDiskSlow         Code = "HOST_DISK_SLOW"
	HostClock            Code = "HOST_CLOCK"
	HostImmutable        Code = "HOST_IMMUTABLE"
	HostPageSize         Code = "HOST_PAGE_SIZE"
	HostCPULevel         Code = "HOST_CPU_LEVEL"
	HostUntested         Code = "HOST_UNTESTED"
	HostWSLDocker        Code = "HOST_WSL_DOCKER"
	HostPortable         Code = "HOST_PORTABLE"
	HostIPTables         Code = "HOST_IPTABLES"
	HostWSLIdle          Code = "HOST_WSL_IDLE"
	HostPIDs             Code = "HOST_PIDS_LOW"
	HostPackagesBusy     Code = "HOST_PACKAGES_BUSY"
	HostEntropy          Code = "HOST_ENTROPY"
	HostConntrack        Code = "HOST_CONNTRACK"
	NetDNSLoop           Code = "NET_DNS_LOOP"
	NetCIDROverlap       Code = "NET_CIDR_OVERLAP"
	NetNoRoute           Code = "NET_NO_ROUTE"
	NetFirewall          Code = "NET_FIREWALL"
	NetManager           Code = "NET_MANAGER"
	NetWebPorts          Code = "NET_WEB_PORTS"
	NetIPv6Only          Code = "NET_IPV6_ONLY"
	NetMTU               Code = "NET_MTU"
	NetProxy             Code = "NET_PROXY"
	DockerTooOld         Code = "DOCKER_TOO_OLD"
	DockerRootless       Code = "DOCKER_ROOTLESS"
	NeighbourPanel       Code = "NEIGHBOUR_PANEL"
	NetPortTaken         Code = "NET_PORT_TAKEN"
	DockerTooNew         Code = "DOCKER_TOO_NEW"
	EngineStopped        Code = "ENGINE_STOPPED"
	MinikubeRoot         Code = "MINIKUBE_ROOT"
	MinikubeNone         Code = "MINIKUBE_NONE"
	EngineSwarm          Code = "ENGINE_SWARM"
	EngineNameTaken      Code = "ENGINE_NAME_TAKEN"
	EngineImageMissing   Code = "ENGINE_IMAGE_MISSING"
	DockerUnreachable    Code = "DOCKER_UNREACHABLE"

	ClusterDebris        Code = "CLUSTER_DEBRIS"
	ClusterForeign       Code = "CLUSTER_FOREIGN"
	ClusterNone          Code = "CLUSTER_NONE"
	ClusterSeveral       Code = "CLUSTER_SEVERAL"
	ClusterUnhealthy     Code = "CLUSTER_UNHEALTHY"
	ClusterOurs          Code = "CLUSTER_OURS"
	ClusterUnfinished    Code = "CLUSTER_UNFINISHED"
	KubeconfigDead       Code = "KUBECONFIG_DEAD"
	ClusterFixed         Code = "CLUSTER_FIXED"
	ClusterGone          Code = "CLUSTER_GONE"
	LayerAPI             Code = "LAYER_API"
	LayerNode            Code = "LAYER_NODE"
	LayerDNS             Code = "LAYER_DNS"
	LayerPod             Code = "LAYER_POD"
	LayerPodNetwork      Code = "LAYER_POD_NETWORK"
	LayerService         Code = "LAYER_SERVICE"
	LayerLargePacket     Code = "LAYER_LARGE_PACKET"
	LayerStorage         Code = "LAYER_STORAGE"
	DistroNotAvailable   Code = "DISTRO_NOT_AVAILABLE"
	DistroNoneFits       Code = "DISTRO_NONE_FITS"
	ConsentNeeded        Code = "CONSENT_NEEDED"
	RebootNeeded         Code = "REBOOT_NEEDED"
	ClusterObjectTaken   Code = "CLUSTER_OBJECT_TAKEN"
	ClusterAccess        Code = "CLUSTER_ACCESS"
	ClusterRights        Code = "CLUSTER_RIGHTS"
	KubeconfigInvalid    Code = "KUBECONFIG_INVALID"
	KubeconfigExec       Code = "KUBECONFIG_EXEC"
	KubeconfigRefused    Code = "KUBECONFIG_REFUSED"
	KubeconfigUntrusted  Code = "KUBECONFIG_UNTRUSTED"
	NetServerUnreachable Code = "NET_SERVER_UNREACHABLE"

	ClusterOwn       Code = "CLUSTER_OWN"
	ClusterMember    Code = "CLUSTER_MEMBER"
	ClusterDatastore Code = "CLUSTER_DATASTORE"
	ClusterUntrusted Code = "CLUSTER_UNTRUSTED"

	DownloadFailed    Code = "DOWNLOAD_FAILED"
	DownloadTruncated Code = "DOWNLOAD_TRUNCATED"
	DownloadDigest    Code = "DOWNLOAD_DIGEST"
	DownloadNoSpace   Code = "DOWNLOAD_NO_SPACE"

	BundleInvalid   Code = "BUNDLE_INVALID"
	BundleTruncated Code = "BUNDLE_TRUNCATED"
	BundleLacks     Code = "BUNDLE_LACKS"
	BundleArch      Code = "BUNDLE_ARCH"

	ManifestUnsigned   Code = "MANIFEST_UNSIGNED"
	ManifestTampered   Code = "MANIFEST_TAMPERED"
	ManifestKeyUnknown Code = "MANIFEST_KEY_UNKNOWN"
	ManifestKeyExpired Code = "MANIFEST_KEY_EXPIRED"
	ManifestExpired    Code = "MANIFEST_EXPIRED"
	ManifestOld        Code = "MANIFEST_OLD"
	ManifestClock      Code = "MANIFEST_CLOCK"
	ManifestFormat     Code = "MANIFEST_FORMAT"
	ManifestAgentOld   Code = "MANIFEST_AGENT_OLD"
	ManifestLacks      Code = "MANIFEST_LACKS"
	TrustNone          Code = "TRUST_NONE"
	TrustFile          Code = "TRUST_FILE"
	TrustRotation      Code = "TRUST_ROTATION"
	K3sConfig          Code = "K3S_CONFIG"
	K3sToken           Code = "K3S_TOKEN"
	K3sCertificate     Code = "K3S_CERTIFICATE"
	K3sDatastore       Code = "K3S_DATASTORE"
	K3sNodePassword    Code = "K3S_NODE_PASSWORD"
	K3sPrograms        Code = "K3S_PROGRAMS"
	K3sNoExec          Code = "K3S_NOEXEC"
	K3sContainerd      Code = "K3S_CONTAINERD"
	K3sCNI             Code = "K3S_CNI"
	K3sImages          Code = "K3S_IMAGES"
	K3sAddress         Code = "K3S_ADDRESS"
	K3sNetworks        Code = "K3S_NETWORKS"
	K3sFiles           Code = "K3S_FILES"
	K3sKilled          Code = "K3S_KILLED"
	K3sSwap            Code = "K3S_SWAP"
	K3sSysctl          Code = "K3S_SYSCTL"
	K3sDenied          Code = "K3S_DENIED"
	K3sSlow            Code = "K3S_SLOW"
	K3sCrashed         Code = "K3S_CRASHED"

	StepFailed        Code = "STEP_FAILED"
	StepNotRolledBack Code = "STEP_NOT_ROLLED_BACK"
	Busy              Code = "BUSY"
	Interrupted       Code = "INTERRUPTED"
	NotResumed        Code = "NOT_RESUMED"

	UninstallIncomplete Code = "UNINSTALL_INCOMPLETE"
	UninstallRemains    Code = "UNINSTALL_REMAINS"

	GatewayUnreachable  Code = "GATEWAY_UNREACHABLE"
	GatewayUntrusted    Code = "GATEWAY_UNTRUSTED"
	GatewayRefused      Code = "GATEWAY_REFUSED"
	GatewayName         Code = "GATEWAY_NAME"
	GatewayProxy        Code = "GATEWAY_PROXY"
	GatewayIntercepted  Code = "GATEWAY_INTERCEPTED"
	GatewayProtocol     Code = "GATEWAY_PROTOCOL"
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
	AuditUnavailable    Code = "AUDIT_UNAVAILABLE"
	AuditBroken         Code = "AUDIT_BROKEN"
	IdentityCloned      Code = "IDENTITY_CLONED"
	LimitUser           Code = "LIMIT_USER"
	LimitAgent          Code = "LIMIT_AGENT"
	LimitDials          Code = "LIMIT_DIALS"
	GatewayNotRunning   Code = "GATEWAY_NOT_RUNNING"
	GatewayBusy         Code = "GATEWAY_BUSY"
	FleetDiffers        Code = "FLEET_DIFFERS"
	ClusterUnknown      Code = "CLUSTER_UNKNOWN"
	ProjectInvalid      Code = "PROJECT_INVALID"
	UserRefused         Code = "USER_REFUSED"
	AgentNotRunning     Code = "AGENT_NOT_RUNNING"

	SupervisorUnreachable Code = "SUPERVISOR_UNREACHABLE"

	PolicyForbids Code = "POLICY_FORBIDS"
	PolicyInvalid Code = "POLICY_INVALID"

	ConnectForbidden   Code = "CONNECT_FORBIDDEN"
	ConnectUnknown     Code = "CONNECT_UNKNOWN"
	ConnectAddress     Code = "CONNECT_ADDRESS"
	ConnectUnreachable Code = "CONNECT_UNREACHABLE"
	ConnectBusy        Code = "CONNECT_BUSY"
	ConnectCut         Code = "CONNECT_CUT"

	JoinForbidden   Code = "JOIN_FORBIDDEN"
	JoinNameTaken   Code = "JOIN_NAME_TAKEN"
	JoinNoEtcd      Code = "JOIN_NO_ETCD"
	JoinNotK3s      Code = "JOIN_NOT_K3S"
	JoinRole        Code = "JOIN_ROLE"
	JoinVersion     Code = "JOIN_VERSION"
	JoinUnavailable Code = "JOIN_UNAVAILABLE"
	NodeUnknown     Code = "NODE_UNKNOWN"
	NodeNeeded      Code = "NODE_NEEDED"
	NodeNotDrained  Code = "NODE_NOT_DRAINED"
	NodeRuns        Code = "NODE_RUNS"
	MachineUnknown  Code = "MACHINE_UNKNOWN"
)

// All returns the catalogue in the order of the documentation.
func All() []Entry {
	return []Entry{
		{Usage, ExitUsage, "the command line, or a setting, is not understood", "see --help", Here, CostNone},

		{HostUnseen, ExitBusy, "this machine could not be looked at", "run the command again; if it stays so, see pipeops-agent probe for what does not answer", Here, CostNone},
		{HostNotRoot, ExitHostRefused, "root is needed", "run the command again with sudo", Here, CostNone},
		{HostOS, ExitHostRefused, "this operating system is not supported", "use a Linux machine", Here, CostNone},
		{HostArch, ExitHostRefused, "this architecture is not supported", "use an amd64 or arm64 machine with a 64-bit userland", Here, CostNone},
		{HostKernel, ExitHostRefused, "the kernel is too old", "upgrade the operating system to one with a newer kernel", Here, CostReboot},
		{HostCPU, ExitHostRefused, "too few CPUs", "give the machine more CPUs", OuterHost, CostOuterHost},
		{HostMemoryLow, ExitHostRefused, "too little memory", "give the machine more memory", OuterHost, CostOuterHost},
		{HostDiskLow, ExitHostRefused, "too little free disk space", "free space on the file system that is named, or enlarge it", Here, CostNone},
		{HostDiskType, ExitHostRefused, "the data directory is on a file system that cannot hold a cluster", "put the data directory on a local disk", Here, CostNone},
		{HostReadOnly, ExitHostRefused, "a directory that must be written is read-only", "remount it writable", Here, CostNone},
		{HostNoSystemd, ExitHostRefused, "neither systemd nor OpenRC starts services here", "boot the machine with systemd, or see to it that pipeops-agent run --supervise is started with the machine", Here, CostNone},
		{HostCgroupV1, ExitHostRefused, "the machine uses cgroup v1, which Kubernetes 1.35 and later refuse", "boot with systemd.unified_cgroup_hierarchy=1", Here, CostReboot},
		{HostCgroupController, ExitHostRefused, "a cgroup controller that Kubernetes needs is missing", "enable the controller on the kernel command line and reboot", Here, CostReboot},
		{HostContainerNesting, ExitOuterHost, "this container is not allowed to run containers", "allow nesting for this container on its host, or use a virtual machine", OuterHost, CostOuterHost},
		{HostWSL1, ExitHostRefused, "WSL 1 has no Linux kernel", "convert the distribution in PowerShell: wsl --set-version <name> 2", OuterHost, CostOuterHost},
		{HostOpenVZ, ExitHostRefused, "OpenVZ containers cannot run Kubernetes", "move to a plan with full (KVM) virtualization", OuterHost, CostOuterHost},
		{HostOOMScore, ExitHostRefused, "processes here may not lower their oom_score_adj", "containerd is configured with restrict_oom_score_adj", Here, CostNone},
		{HostNodeName, ExitHostRefused, "the host name cannot name a Kubernetes node", "give the machine a host name of lower-case letters, digits and '-'", Here, CostNone},
		{HostModulesIdle, ExitHostRefused, "kernel modules that pods need are not loaded", "they are loaded, now and at every boot", Here, CostNone},
		{HostRebootPending, ExitHostRefused, "the modules of the running kernel are gone", "reboot, then run the command again", Here, CostReboot},
		{HostNetfilter, ExitHostRefused, "the kernel lacks modules that the rules of Services are made of", "install the further modules of the running kernel", Here, CostPackage},
		{HostVxlan, ExitHostRefused, "the kernel makes no vxlan links", "flannel is told to route directly (host-gw)", Here, CostNone},
		{HostNamespaces, ExitHostRefused, "network namespaces cannot be made", "use a kernel that has them, and raise user.max_net_namespaces if it is 0", Here, CostReboot},
		{HostOverlay, ExitHostRefused, "the file system of the data directory carries no overlays", "containerd is told to use another snapshotter; ext4, or XFS made with ftype=1, is better", Here, CostNone},
		{HostMounts, ExitHostRefused, "the root mount is not shared", "it is made shared before k3s starts: mount --make-rshared /", Here, CostNone},
		{HostUserNamespace, ExitOuterHost, "the machine is an unprivileged container", "the kubelet is told so (KubeletInUserNamespace); a virtual machine is better", OuterHost, CostOuterHost},
		{HostKeyring, ExitHostRefused, "the kernel allows few keys", "raise kernel.keys.root_maxkeys and kernel.keys.root_maxbytes", Here, CostSysctl},
		{HostInotify, ExitHostRefused, "the kernel allows few watches on files", "raise fs.inotify.max_user_instances and fs.inotify.max_user_watches", Here, CostSysctl},
		{HostSELinux, ExitHostRefused, "SELinux is enforcing, and the policy of k3s is not installed", "install container-selinux, and k3s-selinux from the repository of Rancher, for this release of the system", Here, CostPackage},
		{HostDiskSlow, ExitHostRefused, "the disk is slow", "put the data directory on an SSD; keep to one server with SQLite", Here, CostNone},
		{HostClock, ExitHostRefused, "the clock is not right", "set it and let it be kept: timedatectl set-ntp true, or install chrony", Here, CostNone},
		{HostImmutable, ExitHostRefused, "the system cannot be changed piece by piece", "declare k3s in the configuration of the system, or run Docker and choose --distro k3d", Here, CostNone},
		{HostPageSize, ExitHostRefused, "the kernel uses large pages of memory", "choose a kernel with pages of 4 KiB", Here, CostReboot},
		{HostCPULevel, ExitHostRefused, "the CPU is older than many images expect", "let the hypervisor show more of its CPU (for QEMU: cpu type host), or use a newer machine", OuterHost, CostOuterHost},
		{HostUntested, ExitHostRefused, "nobody has tested this system", "tell us how it went: pipeops-agent probe --capture", Here, CostNone},
		{HostWSLDocker, ExitHostRefused, "Docker Desktop is the better place for a cluster in WSL 2", "choose --distro k3d, or overrule it with --distro k3s", Here, CostNone},
		{HostPortable, ExitHostRefused, "the machine is a laptop", "keep it awake and at one address, or use a machine that stays", Here, CostNone},
		{HostIPTables, ExitHostRefused, "the iptables of the machine cannot be relied on", "k3s is told to use the one that it brings (prefer-bundled-bin)", Here, CostNone},
		{HostWSLIdle, ExitHostRefused, "WSL 2 stops when it is idle", "let it run: vmIdleTimeout=-1 under [wsl2] in %UserProfile%\\.wslconfig, and start it with Windows", OuterHost, CostOuterHost},
		{HostPIDs, ExitHostRefused, "few processes are allowed", "raise the limit of processes of this machine on its host (for LXC lxc.cgroup2.pids.max, for Docker --pids-limit)", OuterHost, CostOuterHost},
		{HostPackagesBusy, ExitBusy, "software is being installed on this machine", "wait for it to end: cloud-init status --wait, or see who holds the lock; install waits as long as --wait says", Here, CostNone},
		{HostEntropy, ExitHostRefused, "the kernel has no random numbers yet", "install haveged or rng-tools, or wait some minutes after the boot", Here, CostPackage},
		{HostConntrack, ExitHostRefused, "the kernel's table of connections cannot be resized here", "kube-proxy is told to leave it alone", Here, CostNone},
		{NetDNSLoop, ExitHostRefused, "pods cannot use the name servers of the machine", "name servers that pods can reach in /etc/resolv.conf", Here, CostNone},
		{NetCIDROverlap, ExitHostRefused, "a route leads into the networks of the cluster", "the cluster gets other networks", Here, CostNone},
		{NetNoRoute, ExitHostRefused, "the machine has no default route", "add one; on a machine without a network to a dummy link: ip link add dummy0 type dummy; ip addr add 203.0.113.254/31 dev dummy0; ip link set dummy0 up; ip route add default via 203.0.113.255 dev dummy0 metric 1000", Here, CostNone},
		{NetFirewall, ExitHostRefused, "a firewall stops the packets of pods", "the networks of pods and services are let in", Here, CostNone},
		{NetManager, ExitHostRefused, "a network service of the machine takes hold of what belongs to pods", "it is told to leave the interfaces of pods alone", Here, CostNone},
		{NetWebPorts, ExitHostRefused, "a web server has the ports of the bundled ingress", "the bundled ingress is left out", Here, CostNone},
		{NetIPv6Only, ExitHostRefused, "no IPv4 leads to the releases", "give a mirror that has IPv6 by --mirror", Mirror, CostNone},
		{NetMTU, ExitHostRefused, "the network carries only small packets", "raise the MTU of the link, or let flannel use host-gw", Here, CostNone},
		{NetProxy, ExitHostRefused, "a proxy is set for packages only", "if downloads and images need it too, set it as PIPEOPS_PROXY or as proxy in config.yaml", Here, CostNone},
		{DockerTooOld, ExitHostRefused, "the Docker engine is too old", "upgrade Docker, from the packages of this system or as docs.docker.com/engine/install says; or choose --distro minikube, which takes 18.09 and later", Here, CostPackage},
		{DockerTooNew, ExitHostRefused, "the Docker engine no longer speaks the API of the tool that makes the cluster", "choose --distro kind, whose tool is the docker command itself, or let the engine speak older APIs too: DOCKER_MIN_API_VERSION=1.24 in the environment of its service", Here, CostNone},
		{DockerRootless, ExitHostRefused, "the Docker engine runs without root", "boot with systemd.unified_cgroup_hierarchy=1, or run the engine as root", Here, CostReboot},
		{NeighbourPanel, ExitHostRefused, "a control panel manages this machine", "use a machine of its own for the cluster: the panel changes the firewall and expects the ports", Here, CostNone},
		{NetPortTaken, ExitHostRefused, "a port that is needed is taken", "stop the program that is named, or move it to another port", Here, CostNone},
		{NetServerUnreachable, ExitHostRefused, "this machine does not reach a server of the cluster", "let nodes reach each other: 6443/tcp to servers, 8472/udp and 10250/tcp between all, 2379 and 2380/tcp between servers; then run join again, which needs no new token", Here, CostNone},
		{DockerUnreachable, ExitHostRefused, "no Docker engine answers", "install Docker and start it", Here, CostPackage},
		{EngineStopped, ExitHostRefused, "the container engine is not running", "start it: systemctl start docker", Here, CostNone},
		{MinikubeRoot, ExitHostRefused, "minikube refuses to be run by root", "let it run as the user that an install makes for it, or let root do so with --minikube-force", Here, CostNone},
		{MinikubeNone, ExitHostRefused, "minikube's driver none asks more of the machine", "see to what is named, then run the command again; or choose --distro k3s, which is Kubernetes on the machine itself and brings what it needs, or --minikube-driver docker", Here, CostNone},
		{EngineSwarm, ExitHostRefused, "the container engine is part of a swarm", "take a machine without a swarm, or bear in mind that draining this one does not move the cluster", Here, CostNone},
		{EngineNameTaken, ExitHostRefused, "the container engine has something else of the cluster's name", "rename or remove what is named; nothing of it was touched", Here, CostNone},
		{EngineImageMissing, ExitDownload, "the image of the nodes is neither here nor to be had", "let the engine reach the registry, or name a mirror that has the image by --mirror; or load it: docker load -i FILE", Here, CostNone},

		{ClusterDebris, ExitHostRefused, "remains of an earlier cluster are in the way", "remove what is listed (for k3s: k3s-uninstall.sh), then run the command again", Here, CostNone},
		{ClusterForeign, ExitHostRefused, "a cluster that pipeops-agent did not install is already here", "adopt it with --distro existing, or remove it first", Here, CostNone},
		{ClusterNone, ExitHostRefused, "there is no cluster to adopt", "install one with --distro auto", Here, CostNone},
		{ClusterOurs, ExitHostRefused, "pipeops-agent has made a cluster of another kind here", "leave --distro out to keep it, or remove it first: pipeops-agent uninstall", Here, CostNone},
		{ClusterUnfinished, ExitHostRefused, "a cluster in containers was begun and never finished", "remove what is listed, by the tool that began it, then run the command again", Here, CostNone},
		{ClusterFixed, ExitUsage, "a cluster in containers cannot be changed so", "go on with the settings that it was made with, or begin anew: pipeops-agent uninstall, then install", Here, CostNone},
		{ClusterGone, ExitUnhealthy, "the containers of the cluster are gone", "run pipeops-agent install: it makes the cluster anew, without its data", Here, CostNone},
		{ClusterSeveral, ExitHostRefused, "several clusters are here", "name the one to adopt with --kubeconfig, and a context of it with --context", Here, CostNone},
		{ClusterObjectTaken, ExitHostRefused, "somebody else has an object of the agent's name in the cluster", "see what it is for with kubectl get -o yaml; rename or delete it, then run the command again", Here, CostNone},
		{ClusterAccess, ExitUnhealthy, "the agent's account is not known to the cluster any more", "the agent asks for a new credential by itself; to do so now: systemctl start pipeops-agent-credential, or pipeops-agent access renew where there is no systemd", Here, CostNone},
		{ClusterRights, ExitHostRefused, "the kubeconfig may not do what an install does in the cluster", "let an administrator of the cluster run: pipeops-agent access manifest --user NAME | kubectl apply -f -", Here, CostNone},
		{KubeconfigInvalid, ExitHostRefused, "the kubeconfig cannot be used", "name another one with --kubeconfig, and a context of it with --context", Here, CostNone},
		{KubeconfigExec, ExitHostRefused, "the kubeconfig runs a program to authenticate, which a service of root's does not", "make a kubeconfig of a service account: pipeops-agent access manifest | kubectl apply -f - prints and applies what it takes, and tells in its comments how to get the kubeconfig; give that one by --kubeconfig", Here, CostNone},
		{KubeconfigDead, ExitHostRefused, "the cluster of the kubeconfig does not answer", "start the cluster, or name another kubeconfig with --kubeconfig, or a context of it with --context; without one, a new cluster can be installed", Here, CostNone},
		{KubeconfigRefused, ExitHostRefused, "the cluster does not know the user of the kubeconfig", "get a new kubeconfig from where this one came: its certificate or token has ended, or is of another cluster", Here, CostNone},
		{KubeconfigUntrusted, ExitHostRefused, "the certificate of the cluster is not one that the kubeconfig trusts", "see that the clock of this machine is right; if it is, the kubeconfig is of another cluster, or the certificate of the cluster has ended: get a new one from where it came", Here, CostNone},
		{ClusterOwn, ExitHostRefused, "this machine has a cluster of its own", "join with another machine, or remove this cluster first: pipeops-agent uninstall", Here, CostNone},
		{ClusterMember, ExitHostRefused, "this machine is a node of a cluster", "run pipeops-agent join to mend it, or take it out of that cluster first: pipeops-agent uninstall", Here, CostNone},
		{ClusterDatastore, ExitHostRefused, "the cluster cannot go back from etcd to SQLite", "leave --cluster-init as it is; a new cluster can be made with either", Here, CostNone},
		{ClusterUntrusted, ExitTunnel, "a server of the cluster is not the one that was meant", "find out who answers at that address: its certificates are not those of the cluster that the gateway named; nothing was changed", Gateway, CostNone},
		{ClusterUnhealthy, ExitUnhealthy, "the cluster does not become healthy", "see pipeops-agent status and journalctl -u k3s, or /var/log/k3s.log where there is OpenRC", Here, CostNone},
		{LayerAPI, ExitUnhealthy, "the API server does not answer", "see journalctl -u k3s, or /var/log/k3s.log where there is OpenRC; then run pipeops-agent install again: it goes on", Here, CostNone},
		{LayerNode, ExitUnhealthy, "no node is ready", "see journalctl -u k3s for what the kubelet waits for; then run pipeops-agent install again: it goes on", Here, CostNone},
		{LayerDNS, ExitUnhealthy, "names do not resolve inside the cluster", "see the pods k8s-app=kube-dns in kube-system and their logs; a loop in /etc/resolv.conf or a firewall on the pod network is the usual cause", Here, CostNone},
		{LayerPod, ExitUnhealthy, "a new pod does not run", "see the evidence and journalctl -u k3s; containerd or the kernel refuses what a container needs", Here, CostNone},
		{LayerPodNetwork, ExitUnhealthy, "packets do not go between pods and this machine", "let the firewall accept what comes from and goes to the pod network (10.42.0.0/16 unless another was chosen), on the interface cni0", Here, CostNone},
		{LayerService, ExitUnhealthy, "a service address does not lead to its pod", "let the firewall accept the service network (10.43.0.0/16 unless another was chosen), and see that nobody else flushes the nat rules of kube-proxy; restarting k3s writes them again", Here, CostNone},
		{LayerLargePacket, ExitUnhealthy, "large packets do not pass the pod network", "give the pod network an MTU that the links below carry, and turn checksum offload of the vxlan link off: ethtool -K flannel.1 tx-checksum-ip-generic off", Here, CostNone},
		{LayerStorage, ExitUnhealthy, "a volume cannot be written", "see the provisioner of the default StorageClass (k3s: local-path-provisioner in kube-system) and the disk below it", Here, CostNone},
		{DistroNotAvailable, ExitHostRefused, "this version of pipeops-agent cannot install that distribution here yet", "choose --distro k3s or --distro existing", Here, CostNone},
		{DistroNoneFits, ExitHostRefused, "no distribution fits this machine", "see the reasons for each", Here, CostNone},
		{ConsentNeeded, ExitWaiver, "a change that needs your consent", "run again with --consent package (or reboot)", Here, CostPackage},
		{RebootNeeded, ExitReboot, "the machine must be rebooted", "reboot now: the install goes on by itself when the machine is up again", Here, CostReboot},

		{DownloadFailed, ExitDownload, "a download failed", "check the network and the mirror, then run the command again: it resumes", Mirror, CostNone},
		{DownloadTruncated, ExitDownload, "a download was cut", "run the command again: it resumes where it was cut", Mirror, CostNone},
		{DownloadDigest, ExitDownload, "a downloaded file is not the one that was released", "use another mirror; nothing of the file was kept", Mirror, CostNone},
		{DownloadNoSpace, ExitDownload, "there is no space for a download", "free space on the file system that is named, then run the command again", Here, CostNone},

		{BundleInvalid, ExitDownload, "the file is no bundle", "make one with pipeops-agent bundle", Here, CostNone},
		{BundleTruncated, ExitDownload, "the bundle is cut short", "copy it once more, and compare its SHA-256 with the one that pipeops-agent bundle has told", Here, CostNone},
		{BundleLacks, ExitDownload, "the bundle does not have what is asked for", "ask for a version that it has by --k3s-version, or make one that has it with pipeops-agent bundle --k3s-version", Here, CostNone},
		{BundleArch, ExitDownload, "the bundle is for another architecture", "make one for this machine with pipeops-agent bundle --arch", Here, CostNone},

		{ManifestUnsigned, ExitSignature, "the list of releases is not signed", "use another mirror, or none; behind a network that asks for a login, log in first", Mirror, CostNone},
		{ManifestTampered, ExitSignature, "the list of releases is not what was signed", "use another mirror, or none: this one, or somebody before it, changes what it hands out", Mirror, CostNone},
		{ManifestKeyUnknown, ExitSignature, "the list of releases is signed by nobody who is trusted here", "use another mirror; if you sign your own list, give your keys by --trust FILE; if the keys are newer than this program, install a newer pipeops-agent", Mirror, CostNone},
		{ManifestKeyExpired, ExitSignature, "the list of releases is signed by a key whose time is over", "see that the clock of this machine is right; if it is, install a newer pipeops-agent, or use a mirror that is up to date", Mirror, CostNone},
		{ManifestExpired, ExitSignature, "the list of releases is out of date", "see that the clock of this machine is right; if it is, use a mirror that is up to date", Mirror, CostNone},
		{ManifestOld, ExitSignature, "the list of releases is older than one that was used before", "use a mirror that is up to date", Mirror, CostNone},
		{ManifestClock, ExitSignature, "the clock of this machine is behind", "set it and let it be kept: timedatectl set-ntp true, or install chrony; then run the command again", Here, CostNone},
		{ManifestFormat, ExitSignature, "the list of releases cannot be read", "install a newer pipeops-agent, or use another mirror", Mirror, CostNone},
		{ManifestAgentOld, ExitSignature, "this pipeops-agent is too old for the list of releases", "install a newer pipeops-agent", Here, CostNone},
		{ManifestLacks, ExitDownload, "the list of releases does not have what is asked for", "choose a version that it has, or use a mirror that is up to date", Mirror, CostNone},
		{TrustNone, ExitSignature, "nobody is trusted to say what may be installed", "use a released pipeops-agent, or give the keys of your own list by --trust FILE", Here, CostNone},
		{TrustFile, ExitSignature, "the file with the trusted keys cannot be used", "let it be a trust document that belongs to root and that nobody else may write: chown root, chmod 0644", Here, CostNone},
		{TrustRotation, ExitSignature, "the trusted keys cannot be exchanged as the mirror says", "use another mirror, or install a newer pipeops-agent", Mirror, CostNone},
		{K3sConfig, ExitRolledBack, "k3s does not accept its configuration", "mend what is named in /etc/rancher/k3s/config.yaml, in a file of config.yaml.d, or in the environment of its service", Here, CostNone},
		{K3sToken, ExitRolledBack, "the token of k3s is not the one that its data was made with", "take the token setting out, or set it to the one that was used first; a cluster of which nothing is needed can be removed instead", Here, CostNone},
		{K3sCertificate, ExitRolledBack, "the certificates of k3s cannot be used", "set the clock right; then restore /var/lib/rancher/k3s/server/tls from a copy, or take away the file that is named: k3s makes it anew from its datastore", Here, CostNone},
		{K3sDatastore, ExitRolledBack, "the datastore of k3s is damaged or does not answer", "restore /var/lib/rancher/k3s/server/db from a copy; a cluster of which nothing is needed can be removed instead", Here, CostNone},
		{K3sNodePassword, ExitRolledBack, "the cluster knows another machine by the name of this node", "give this node a name of its own (node-name), or delete the Secret NAME.node-password.k3s in kube-system", Here, CostNone},
		{K3sPrograms, ExitRolledBack, "a program of k3s is missing, damaged or made for another machine", "remove /var/lib/rancher/k3s/data, then run pipeops-agent install again: k3s unpacks its programs anew", Here, CostNone},
		{K3sNoExec, ExitRolledBack, "no program may be run where k3s keeps its own", "mount that file system without noexec (mount -o remount,exec, and in /etc/fstab), or choose another folder with --data-dir", Here, CostNone},
		{K3sContainerd, ExitRolledBack, "containerd, which k3s brings, does not run", "see the end of /var/lib/rancher/k3s/agent/containerd/containerd.log", Here, CostNone},
		{K3sCNI, ExitRolledBack, "the network of pods cannot be set up", "restart k3s; if it stays so, remove /var/lib/rancher/k3s/data and run pipeops-agent install again", Here, CostNone},
		{K3sImages, ExitRolledBack, "an image cannot be imported or pulled", "see that the registry can be reached from this machine, or put the images into /var/lib/rancher/k3s/agent/images", Here, CostNone},
		{K3sAddress, ExitRolledBack, "an address or interface that k3s is to use is not on this machine", "correct node-ip, bind-address, advertise-address or flannel-iface in the configuration of k3s", Here, CostNone},
		{K3sNetworks, ExitRolledBack, "the networks of pods and services do not go with this machine", "give cluster-cidr and service-cidr of the same families (IPv4, IPv6 or both) as the addresses of this machine", Here, CostNone},
		{K3sFiles, ExitRolledBack, "k3s may open too few files", "raise LimitNOFILE of its service (1048576), or fs.file-max", Here, CostNone},
		{K3sKilled, ExitRolledBack, "k3s was killed", "see who killed it: journalctl -k, and what watches processes on this machine", Here, CostNone},
		{K3sSwap, ExitRolledBack, "the kubelet does not run while there is swap", "swapoff -a and take the swap out of /etc/fstab, or give the kubelet fail-swap-on=false", Here, CostNone},
		{K3sSysctl, ExitRolledBack, "settings of the kernel are not those that the kubelet needs", "set what is named, or let k3s do it: take protect-kernel-defaults out of its configuration", Here, CostSysctl},
		{K3sDenied, ExitRolledBack, "k3s was denied something that it needs", "see what forbids it: SELinux or AppArmor (journalctl -k), the owner of the file, or the limits of the container that this machine is", Here, CostNone},
		{K3sSlow, ExitRolledBack, "a part of k3s did not get ready in time", "see what keeps the machine busy; a slow disk is the most frequent reason", Here, CostNone},
		{K3sCrashed, ExitRolledBack, "k3s has crashed", "try another version with --k3s-version; the lines that begin with panic: in journalctl -u k3s are worth a report to the authors of k3s", Here, CostNone},

		{StepFailed, ExitRolledBack, "a step failed and was rolled back", "mend the cause, then run the command again: it resumes", Here, CostNone},
		{StepNotRolledBack, ExitNotRolledBack, "a step failed and could not be rolled back", "mend the cause, then run the command again: it resumes", Here, CostNone},
		{UninstallIncomplete, ExitNotRolledBack, "the uninstall could not be brought to its end", "mend the cause, then run pipeops-agent uninstall again: it goes on", Here, CostNone},
		{UninstallRemains, ExitNotRolledBack, "something of the install is still here", "remove what is listed, or reboot if it is in use", Here, CostNone},
		{Interrupted, ExitBusy, "the command was stopped before its end", "run it again: it goes on where it was", Here, CostNone},
		{NotResumed, ExitNotRolledBack, "an unfinished install does not go on by itself", "mend what is named, then run the command again: it goes on where it was", Here, CostNone},
		{Busy, ExitBusy, "another pipeops process is at work", "wait for it to end, then run the command again", Here, CostNone},

		{GatewayUnreachable, ExitTunnel, "the gateway does not answer", "check the address, the network and that pipeops-gateway serve is running", Gateway, CostNone},
		{GatewayUntrusted, ExitTunnel, "the gateway is not the one that made the token", "check --gateway; if the connection is intercepted by a proxy, exempt the gateway from it", Gateway, CostNone},
		{GatewayRefused, ExitTunnel, "the gateway refused the request", "see the evidence and the gateway's log", Gateway, CostNone},
		{GatewayName, ExitTunnel, "the name of the gateway leads nowhere", "check --gateway and the name servers of this machine (/etc/resolv.conf)", Here, CostNone},
		{GatewayProxy, ExitTunnel, "the proxy does not lead to the gateway", "let the proxy allow CONNECT to the gateway, or mend proxy in config.yaml (docs/network.md)", Here, CostNone},
		{GatewayIntercepted, ExitTunnel, "somebody on the way opens the connection to the gateway", "exempt the gateway from the inspection of TLS by the proxy or firewall that issues these certificates", Here, CostNone},
		{GatewayProtocol, ExitTunnel, "what answers there is no gateway", "check --gateway: it names the port of pipeops-gateway serve itself, not of a web server or balancer before it", Gateway, CostNone},
		{TokenMalformed, ExitTunnel, "the join token is not complete", "copy the whole token, pat_<id>.<secret>.<digest>, or make another one: pipeops-gateway token create; for a machine that joins a cluster: pipeops-gateway join CLUSTER", Gateway, CostNone},
		{TokenUnknown, ExitTunnel, "the gateway does not know this join token", "make another one: pipeops-gateway token create; for a machine that joins a cluster: pipeops-gateway join CLUSTER", Gateway, CostNone},
		{TokenUsed, ExitTunnel, "the join token has been used", "make another one: pipeops-gateway token create; for a machine that joins a cluster: pipeops-gateway join CLUSTER", Gateway, CostNone},
		{TokenExpired, ExitTunnel, "the join token has expired", "make another one: pipeops-gateway token create; for a machine that joins a cluster: pipeops-gateway join CLUSTER", Gateway, CostNone},
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
		{AuditUnavailable, ExitTunnel, "the audit log cannot be kept, and it is required", "make room where the audit log is, or see why its disk takes nothing; or set audit to on, which does what cannot be recorded", Here, CostNone},
		{AuditBroken, ExitUnhealthy, "the audit log is not as it was recorded", "keep a copy of its folder as it is, and find out who could write there; the record that is named is the first that does not fit", Here, CostNone},
		{IdentityCloned, ExitTunnel, "two processes hold the identity of one machine", "find out which of the two is yours; for a clone: enrol it under a name of its own; for a stolen key: pipeops-gateway clusters revoke, then enrol the machine again with a token made for the cluster", Gateway, CostNone},
		{LimitUser, ExitTunnel, "the user has as many requests open as one may", "end some of what runs, such as watches and logs -f, or try again; the gateway's --user-requests says how many", Gateway, CostNone},
		{LimitAgent, ExitTunnel, "the machine has as many requests on their way as one may", "try again; requests that last, such as watches and logs -f, take most of the room", Gateway, CostNone},
		{LimitDials, ExitTunnel, "the machine is opening as many connections as one may", "try again", Gateway, CostNone},
		{GatewayNotRunning, ExitTunnel, "no gateway is running on this machine", "start it: pipeops-gateway serve; if it uses another folder, name it with --data", Gateway, CostNone},
		{GatewayBusy, ExitTunnel, "too many agents connect at once", "nothing: the agent connects again at the time that the gateway has given it", Gateway, CostNone},
		{FleetDiffers, ExitTunnel, "this gateway has other keys than those that share its store", "copy ca.pem, ca-key.pem and secret.key from the data folder of one of the others (docs/gateways.md)", Gateway, CostNone},
		{ClusterUnknown, ExitTunnel, "the gateway has no such cluster", "see pipeops-gateway clusters", Gateway, CostNone},
		{ProjectInvalid, ExitUsage, "the project file is not valid", "mend what is named in the file", Gateway, CostNone},
		{UserRefused, ExitTunnel, "the user token is not accepted", "make another one: pipeops-gateway kubeconfig", Gateway, CostNone},
		{AgentNotRunning, ExitUnhealthy, "the agent is not running on this machine", "systemctl start pipeops-agent, or rc-service pipeops-agent start; where neither starts the services: pipeops-agent run --supervise", Here, CostNone},
		{SupervisorUnreachable, ExitUnhealthy, "nobody runs the services of this machine", "pipeops-agent run --supervise --background; docs/supervise.md says how it starts with the machine", Here, CostNone},

		{PolicyForbids, ExitHostRefused, "the owner of the machine does not allow it", "ask who has root there to change /etc/pipeops-agent/policy.yaml; pipeops-agent policy can VERB RESOURCE shows what is allowed", Here, CostNone},
		{PolicyInvalid, ExitUsage, "the policy of the machine cannot be read, so nothing is let through", "mend what is named: pipeops-agent policy check; without the file everything is allowed that the cluster allows", Here, CostNone},

		{ConnectForbidden, ExitTunnel, "the cluster does not allow the user to reach it", "ask who manages the cluster for the right that is named, in a Role or a ClusterRole", Gateway, CostNone},
		{ConnectUnknown, ExitTunnel, "there is no such service, pod or port", "see kubectl get services,pods -A", Gateway, CostNone},
		{ConnectAddress, ExitTunnel, "it leads to an address that the agent does not connect to", "name a service whose pods have a network of their own", Gateway, CostNone},
		{ConnectUnreachable, ExitTunnel, "nobody answers there", "see kubectl get pods, and whether the program listens on that port", Gateway, CostNone},
		{ConnectBusy, ExitBusy, "too many connections are open through this agent", "close some, or try again later", Here, CostNone},
		{ConnectCut, ExitTunnel, "the connection did not come to its end", "make it again; what came so far is not all", Here, CostNone},

		{JoinForbidden, ExitTunnel, "the cluster takes no machine that joins", "allow it in the configuration of the cluster's servers, then restart pipeops-agent there", Here, CostNone},
		{JoinNameTaken, ExitTunnel, "the cluster has a node of this name", "choose another one with --node-name, or remove the old one: pipeops-gateway nodes remove CLUSTER NODE", Gateway, CostNone},
		{JoinNoEtcd, ExitTunnel, "the cluster keeps its state where a second server cannot share it", "run pipeops-agent install --cluster-init on its first server, or join as a worker", Here, CostNone},
		{JoinNotK3s, ExitTunnel, "machines can join clusters of k3s only", "add nodes by the means of that distribution", Here, CostNone},
		{JoinRole, ExitTunnel, "the token is for another role", "make another one: pipeops-gateway join CLUSTER --role ROLE", Gateway, CostNone},
		{JoinVersion, ExitTunnel, "this machine can install no k3s that fits the cluster's", "update pipeops-agent on this machine, or the cluster", Here, CostNone},
		{JoinUnavailable, ExitTunnel, "the cluster cannot take a machine at the moment", "see pipeops-agent status on the cluster's servers, then run the command again", Here, CostNone},
		{NodeUnknown, ExitTunnel, "the cluster has no such node", "see pipeops-gateway nodes CLUSTER", Gateway, CostNone},
		{NodeNeeded, ExitTunnel, "the cluster cannot do without this node", "join another server first: pipeops-gateway join CLUSTER --role server", Gateway, CostNone},
		{NodeNotDrained, ExitTunnel, "the node could not be drained", "see the evidence; then run the command again, with --force or a longer --timeout", Gateway, CostNone},
		{NodeRuns, ExitTunnel, "k3s still runs on the node, and would join again by itself", "run pipeops-agent uninstall on that machine, which takes it out of the cluster too; or stop k3s there, then run the command again with --force", Here, CostNone},
		{MachineUnknown, ExitTunnel, "the cluster has no such machine", "see pipeops-gateway clusters machines CLUSTER", Gateway, CostNone},
	}
}
