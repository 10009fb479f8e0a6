package reason

// explainKernel explains what concerns the kernel and its settings.
func explainKernel(code Code) string {
	switch code {
	case "HOST_KERNEL":
		return "Kubernetes needs what came with newer kernels: version 3.10, and 4.5 from Kubernetes 1.35 on. The numbers of uname's release are compared; a container has the kernel of its host."
	case "HOST_CGROUP_V1":
		return "The machine counts resources by cgroup v1, which the kubelet refuses from version 1.35 on. The types of the mounts below /sys/fs/cgroup are read, for that the folder is there says nothing."
	case "HOST_CGROUP_CONTROLLER":
		return "The kubelet needs the controllers cpu, cpuset, memory and pids; Raspberry Pi OS, for one, boots with that of memory switched off. cgroup.controllers or /proc/cgroups names those that are there."
	case "HOST_MODULES_IDLE":
		return "overlay, br_netfilter and nf_conntrack are on the disk and not loaded. /proc/modules and the lists of the running kernel's modules are read; an install loads them and names them in /etc/modules-load.d."
	case "HOST_NETFILTER":
		return "kube-proxy and the pod network write packet filter rules; the kernel lacks what those rules need, such as the comment match that RHEL 10 keeps in a package of its own. A trial makes a table and a rule in a network namespace of its own and throws both away."
	case "HOST_VXLAN":
		return "Pods on different nodes talk through VXLAN links by default, and this kernel cannot make one; host-gw, or one node only, does without. A trial makes such a link in a network namespace of its own."
	case "HOST_NAMESPACES":
		return "Containers are made of namespaces, and this machine does not allow to make one that is needed, by a setting of the kernel or of its host. A trial makes one, in a thread that is then thrown away."
	case "HOST_OVERLAY":
		return "Images are layers that are mounted over each other, which the file system or the kernel here does not allow; another snapshotter (fuse-overlayfs, native) costs speed or space. A trial mounts an overlay where the images will lie."
	case "HOST_KEYRING":
		return "Each container takes a key of the kernel's keyring; at the limit of the user, pods fail with the misleading words \"disk quota exceeded\". kernel.keys.root_maxkeys and root_maxbytes are read."
	case "HOST_INOTIFY":
		return "The kubelet, the control plane and each container watch files; the usual 128 instances for each user are used up by a node with some sixty pods, and what comes then fails with \"too many open files\". fs.inotify.max_user_instances and max_user_watches are read, and what processes use now is counted."
	case "HOST_SELINUX":
		return "SELinux enforces its rules. Without the packages container-selinux and k3s-selinux, k3s runs and its pods are not confined by SELinux; some pods that ask for labels are denied files. Its state is read from /sys/fs/selinux/enforce."
	case "HOST_PAGE_SIZE":
		return "This kernel counts memory in pages of more than 4 KiB; programs that were built with 4 KiB in mind, such as some with jemalloc, end at their start. The page size is asked of the system."
	case "HOST_CONNTRACK":
		return "kube-proxy sets the size of the kernel's table of connections, which this container may not; it would end with an error. Whether the setting can be opened for writing is looked at; kube-proxy is told to leave it alone, as k3s does anyway."
	case "HOST_IPTABLES":
		return "The iptables program is not installed, is a version that damages rules (1.8.0 to 1.8.4), or works beside rules of the other back end, which then see only half of the packets. The links of the program and the database of packages are read; k3s brings its own and is told to use that."
	case "HOST_ENTROPY":
		return "The random numbers of this kernel are not ready, and before version 5.6 programs wait for them: the first start of a cluster may hang for minutes. The kernel is asked for a random number without waiting."
	}
	return ""
}
