package distro

// Sizes in bytes.
const (
	mib = 1 << 20
	gib = 1 << 30
)

// memorySlack is the part of a machine's memory that its kernel and firmware may keep: a machine sold with 1 GB reports
// about 960 MB.
const memorySlack = 0.06

// What k3s needs. Its own profile measured 1596 MB for a server with a workload and monitoring (k3s 1.26.5); machines of
// 512 MB hang (k3s issues 2003 and 3976). Bare, without monitoring, it works with 900 MB.
const (
	k3sCPUs       = 1
	k3sCPUsWarn   = 2 // what the documentation of k3s asks for
	k3sMemory     = 900 * mib
	k3sMemoryWarn = 1900 * mib // below it there is no room for monitoring
	k3sDisk       = 4 * gib    // binary, images and their unpacked layers, with room for the database and logs
	k3sDiskWarn   = 10 * gib
	k3sBinaryDisk = 128 * mib // the binary is about 75 MB, and the old one stays until the new one is in place
	agentDisk     = 500 * mib // artifacts and state of the agent
	// nodeShare is what must be free where the kubelet keeps the folders of pods: below 5 % k3s has it evict them.
	nodeShare = 0.10
	// freeShareWarn is the share of a file system below which the kubelet begins to remove images (imageGCHighThreshold 85 %).
	freeShareWarn = 0.15
)

// What a k3s with an etcd of its own needs beyond that: the profile of k3s measured 1606 MB for such a server with a workload
// (docs.k3s.io/reference/resource-profiling), and one that is short of memory takes the others' quorum with it. Writes to disk:
// the documentations of k3s and etcd ask for 5 and 10 ms at the 99th percentile; etcd in k3s sends a heartbeat every 500 ms and
// elects anew after 5 s without, so that a tenth of a heartbeat is where a server begins to hold up the others.
const (
	etcdMemory    = 1606 * 1000 * 1000
	etcdFsync     = 5  // milliseconds, advised
	etcdFsyncMost = 50 // milliseconds, needed
)

// etcdPorts are the TCP ports of the etcd in k3s: clients and peers, and at the loopback its metrics and its HTTP.
func etcdPorts() []int { return []int{2379, 2380, 2381, 2382} }

// What a worker of k3s needs: its documentation asks for 512 MB and one core, its profile measured 275 MB without any
// workload. The disk holds the binary, the images and their layers, but no database.
const (
	workerMemory     = 512 * mib
	workerMemoryWarn = 1 * gib
	workerDisk       = 3 * gib
)

// workerPorts are the TCP ports without which a worker does not start: the kubelet, containerd's streams, and the way to the
// servers at the loopback.
func workerPorts() []int { return []int{6444, 10010, 10250} }

// vxlanPort is the UDP port on which flannel sends the packets of pods to other nodes.
const vxlanPort = 8472

// k3sPorts are the TCP ports without which k3s does not start: API, API behind the supervisor, containerd's streams, the
// kubelet, controller manager and scheduler (k3s documentation, "Networking"; Kubernetes, "Ports and Protocols").
func k3sPorts() []int { return []int{6443, 6444, 10010, 10250, 10257, 10259} }

// The oldest kernels: 3.10 is what kubeadm's system validators accepted longest; Kubernetes 1.35 uses what came with 4.5.
const (
	kernelMajor, kernelMinor       = 3, 10
	kernelNewMajor, kernelNewMinor = 4, 5
	kubernetesNewKernel            = 35
	kubernetesRefusesCgroupV1      = 35 // KEP-5573: kubelet 1.35 fails on cgroup v1 unless told otherwise
	kubernetesDropsCgroupV1        = 38 // the same: removal not before 1.38
)

// What the distributions in containers need beside Docker. minikube refuses fewer than 2 CPUs and 1800 MB in its node, and
// the host needs 1 GB of the rest; kubeadm inside kind wants 2 CPUs and 1700 MB; k3d runs k3s and its load balancer. Above
// that is what their documentation advises: kind 8 GB for building and 4 GB for two nodes, minikube 20 GB of disk. Disk is that of
// the engine: kind's node image is 1 GB and unpacks to 3, minikube's base image and preload are 863 MB (minikube issue 7903).
const (
	dockerCPUs         = 2
	k3dMemory          = 1900 * mib
	k3dMemoryWarn      = 3 * gib
	k3dDisk            = 6 * gib
	k3dDiskWarn        = 12 * gib
	kindMemory         = 2000 * mib
	kindMemoryWarn     = 4 * gib
	kindDisk           = 8 * gib
	kindDiskWarn       = 15 * gib
	minikubeMemory     = 2800 * mib
	minikubeMemoryWarn = 4 * gib
	minikubeDisk       = 8 * gib
	minikubeDiskWarn   = 20 * gib
)

// What minikube's driver none needs: it refuses fewer than 2 CPUs and 1800 MB, as kubeadm does, and keeps some 400 MB of programs and
// the database of etcd.
const (
	minikubeNoneMemory = 1800 * mib
	minikubeNoneDisk   = 2 * gib
)

// minikubeNoneOwnPorts are the TCP ports without which a node of kubeadm does not start, beside that of its API: etcd, its peers and its
// metrics, the kubelet's health and the kubelet, kube-proxy's metrics and health, controller manager and scheduler
// (Kubernetes, "Ports and Protocols").
func minikubeNoneOwnPorts() []int {
	return []int{2379, 2380, 2381, 10248, 10249, 10250, 10256, 10257, 10259}
}

// Limits of the kernel. A node with a dozen pods uses up the 128 inotify instances that are the default (k0s issue 8113,
// kubernetes issue 104303; kind's documentation asks for 512 and 524288, embedded-cluster for 1024). Each container takes a
// key: k3s's check wants more than 10000; the kubelet itself sets these two values (setupKernelTunables).
const (
	inotifyInstances = 1024
	inotifyWatches   = 524288
	keyringKeys      = 1000000
	keyringBytes     = 25000000
)

const (
	nodeNameMax    = 54    // bytes: embedded-cluster's limit; labels hold 63, and names of pods are made of it
	maxNameservers = 3     // that a resolver asks: resolv.conf(5), and the kubelet cuts the list there
	fsyncSlow      = 10    // milliseconds, 99th percentile, that SQLite in k3s bears; etcd wants 5
	freeInodes     = 50000 // images of k3s unpack to some 10000 files; the kubelet evicts pods below 5 % (imagefs and nodefs)
	pidsLeast      = 2048  // processes and threads: k3s has some 200, a pod of a language with threads as many
	vxlanBytes     = 50    // that vxlan puts around a packet
	minMTU         = 1330  // 1280, the least of IPv6, and the 50 bytes of vxlan
	clockYear      = 2026  // this program was not there earlier
	maxSkew        = 60    // seconds to the clocks of others: certificates of a clock that is ahead are not valid yet (k3s issue 5163); k0sctl allows 30
	k3sDiskUse     = 1 * gib
	volumePlugins  = "/var/lib/kubelet/volumeplugins"
)
