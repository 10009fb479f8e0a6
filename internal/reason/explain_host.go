package reason

// explainHost explains what concerns the machine as a whole.
func explainHost(code Code) string {
	switch code {
	case "HOST_UNSEEN":
		return "It could not be seen whether a cluster is on this machine, or who listens on its ports, and nothing is installed over what was not seen. A file system that does not answer is the usual cause; each probe waits 5 s for it."
	case "HOST_NOT_ROOT":
		return "An install writes below /etc, /usr/local and /var and starts services, which only root may do. The effective user id of the command is looked at."
	case "HOST_OS":
		return "The machine does not run Linux, which is what a Kubernetes node runs on. The agent asks the system that it was built for."
	case "HOST_ARCH":
		return "Kubernetes and its images are made for 64-bit machines; a 64-bit kernel with 32-bit programs, as older images of Raspberry Pi OS have it, cannot run them either. The machine name of uname and the ELF class of pid 1 are compared."
	case "HOST_CPU":
		return "The control plane alone keeps a good part of a CPU busy; with too few of them its components miss their deadlines and are started again and again. What counts is the CPUs that a process may run on, or the quota of the control group of pid 1 if it is smaller."
	case "HOST_MEMORY_LOW":
		return "With too little memory a machine hangs instead of failing, since the kernel moves the programs of the control plane in and out. What counts is the smaller of MemTotal and the limit of the control group of pid 1; 6 % less than the number is accepted, for firmware and kernel keep a part."
	case "HOST_DISK_LOW":
		return "Images, their unpacked layers, the database and logs fill the disk; when 85 % are used the kubelet removes images, and a little later it evicts pods. The free space for users that are not root is asked of the file system that holds each directory, or would hold it."
	case "HOST_DISK_TYPE":
		return "containerd cannot unpack images on network file systems, the database is damaged by those without reliable locks, and what lies in memory is gone after a reboot. The type comes from statfs and /proc/self/mountinfo; a trial mounts an overlay where the images will lie."
	case "HOST_READ_ONLY":
		return "A folder that an install must write to is on a file system that is mounted read-only, by intent or since the kernel met an error on the disk. The flags of the mount are read; nothing is written to find out."
	case "HOST_NO_SYSTEMD":
		return "Something has to start the cluster at boot and again when it ends. systemd is in charge if /run/systemd/system exists; that systemctl is installed says nothing. Where neither systemd nor OpenRC runs, pipeops-agent run --supervise does it, but nothing starts that one with the machine by itself: so it is a warning (docs/supervise.md says what to enter where)."
	case "HOST_CONTAINER_NESTING":
		return "The machine is itself a container, and its host does not let it do what a node must: make control groups, mount file systems, change kernel settings, read /dev/kmsg. It is judged by what the container may do, by trials where they were run, and not by its name; nothing inside can change it."
	case "HOST_WSL1":
		return "WSL 1 translates system calls and has no Linux kernel, so there are no control groups, namespaces and overlays. It is told by the kernel release, which WSL 2 writes differently."
	case "HOST_OPENVZ":
		return "OpenVZ shares one old kernel among all its containers and does not let them change the settings that the kubelet insists on. It is told by /proc/vz without /proc/bc."
	case "HOST_OOM_SCORE":
		return "Kubernetes protects its own processes by a lower oom_score_adj; without the capability CAP_SYS_RESOURCE nobody may lower it, and every pod would fail to start. A trial lowers the value of one of its own threads and puts it back."
	case "HOST_NODE_NAME":
		return "The name of a node has to be a DNS name of lower-case letters, digits, '-' and '.', and the same after each boot; two nodes must not share it. The host name is read from the kernel and compared with those rules."
	case "HOST_REBOOT_PENDING":
		return "A package that was installed needs a reboot to take effect: the running kernel may then find no modules of its own any more. /run/reboot-required and its likes are looked for, and whether the modules of the running kernel are still there."
	case "HOST_IMMUTABLE":
		return "The system is changed only as a whole, by images or snapshots (ostree, transactional updates, NixOS, Flatcar), so that packages take effect after a reboot and /usr cannot be written to. It is told by os-release and by which folders are mounted read-only."
	case "HOST_UNTESTED":
		return "Nothing speaks against this system, but nobody has tried it with this version either. The id and the version in os-release are compared with those that are tested."
	case "HOST_CPU_LEVEL":
		return "Some images are built for newer CPUs (x86-64-v2 and later) and end with an illegal instruction on older ones, or on virtual machines whose CPU model hides features. The flags in /proc/cpuinfo are compared with the levels of the System V ABI."
	case "HOST_PACKAGES_BUSY":
		return "Another program is installing packages now, such as unattended upgrades or cloud-init after the first boot. Who holds the locks of the package manager is looked up in /proc/locks, and the state of cloud-init below /run/cloud-init; nothing is locked to find out. An install waits for cloud-init (unless cloud-init runs it, which its parents and control group tell) and, if it needs packages, for their manager, for 5 minutes or what --wait says, before it changes anything."
	case "HOST_CLOCK":
		return "Certificates are valid from a certain moment on: with a clock that is wrong they are not valid yet, or no more. The year, whether the kernel counts the clock as synchronized, and whether there is a battery behind it are looked at; with --network it is compared with the clocks of the servers that an install needs, and may be 60 s off. The certificate of the gateway must be valid by it, too: the gateway renews it in time, so that one of the two clocks is wrong where it is not."
	case "HOST_PORTABLE":
		return "The machine has a battery: it sleeps, its clock jumps, and its addresses change with the network. The power supplies in /sys are looked at."
	case "HOST_DISK_SLOW":
		return "The database of the cluster waits until each change is on the disk; where that takes long, leases run out and components start again and again. A trial writes small blocks with fsync for at most three seconds and takes the 99th percentile."
	case "HOST_WSL_DOCKER":
		return "WSL 2 stops a distribution that nobody uses, and a cluster in it; the engine of Docker Desktop is in a machine of its own that goes on, so a cluster in its containers is the better one here. It is told by the files of its integration. Asked for by name, k3s is installed all the same."
	case "HOST_WSL_IDLE":
		return "WSL 2 stops its virtual machine some time after the last program of the user in it has ended, and the cluster with it; at the next start it has another address. It is told by the kernel release."
	case "HOST_MOUNTS":
		return "What the kubelet mounts for a pod must show in the pod, for which the root mount has to be shared: systemd makes it so, but WSL 2 and some containers undo it. /proc/self/mountinfo is read; a drop-in of the service makes it shared before k3s starts."
	case "HOST_PIDS_LOW":
		return "The control group of pid 1 limits how many processes and threads there may be, as hosts of containers and some providers set it; at the limit nothing can be started any more. pids.max is read."
	case "HOST_USER_NAMESPACE":
		return "The user ids here are not those of the machine outside (/proc/self/uid_map is shifted), so that the kernel denies some of what root may do elsewhere. Kubernetes runs there only with KubeletInUserNamespace, and with care for file systems."
	}
	return ""
}
