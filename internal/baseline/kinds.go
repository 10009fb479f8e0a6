package baseline

import (
	"regexp"
	"slices"
	"strings"
)

// The kinds of what is compared.
const (
	Files    = "file"
	Units    = "unit"
	Services = "service"
	Sysctls  = "sysctl"
	Rules    = "chain of the firewall"
	Packages = "package"
	Users    = "user"
	Groups   = "group"
	Ports    = "port"
	Mounts   = "mount"
	Links    = "network link"
	Modules  = "module of the kernel"
	Objects  = "object of the container engine"
)

// Kind says what of a kind is compared.
type Kind struct {
	Name string
	What string                // for people
	Only string                // came, went, changed: the only change that counts; "" means all
	Ours func(Difference) bool // whether an install may have made the difference
}

// Kinds lists what is compared, and nothing else is.
func Kinds() []Kind {
	never := func(Difference) bool { return false }
	came := func(ours *regexp.Regexp) func(Difference) bool {
		return func(d Difference) bool { return d.Change == "came" && ours.MatchString(d.Name) }
	}
	return []Kind{
		{Name: Files, What: "the names in folders where installs put things: " + strings.Join(folders(), ", "), Ours: came(regexp.MustCompile(
			`/(k3s[^/]*|rancher|kube[^/]*|cni|flannel|pods|containers|containerd|nri|netns|[^/]*pipeops[^/]*|crictl|ctr)$`))},
		{Name: Units, What: "unit files and whether they are enabled", Ours: came(regexp.MustCompile(`^(k3s|kube|pipeops)`))},
		{Name: Services, What: "enabled services that ran and run no more", Only: "went", Ours: never},
		{Name: Sysctls, What: "values of the kernel that Kubernetes and installs change", Only: "changed", Ours: func(Difference) bool { return true }},
		{Name: Rules, What: "chains of the firewall, each by a digest of its rules", Ours: came(regexp.MustCompile(` (KUBE-|FLANNEL-|CNI-)| kube-proxy$`))},
		{Name: Packages, What: "packages", Ours: never},
		{Name: Users, What: "users", Ours: never},
		{Name: Groups, What: "groups", Ours: never},
		{Name: Ports, What: "ports on which somebody listens", Ours: func(d Difference) bool { return d.Change == "came" && slices.Contains(clusterPorts(), d.Name) }},
		{Name: Mounts, What: "mount points", Ours: came(regexp.MustCompile(`^(/var)?/run/(k3s|netns/cni-)|^/var/lib/kubelet/`))},
		{Name: Links, What: "network links", Ours: came(regexp.MustCompile(`^(cni0|flannel.*|kube-ipvs0)$`))},
		{Name: Objects, What: "containers, networks, volumes and images of a container engine that answers", Ours: came(regexp.MustCompile(`pipeops|^image (rancher/k3s|kindest/node|.*/kicbase)`))},
		{Name: Modules, What: "modules of the kernel", Ours: never}, // those that stay are in use
	}
}

// clusterPorts are those of k3s.
func clusterPorts() []string {
	return []string{"tcp 6443", "tcp 6444", "tcp 10248", "tcp 10249", "tcp 10250", "tcp 10256", "tcp 10257", "tcp 10258", "tcp 10259", "tcp 10010", "udp 8472"}
}

// folders are those whose names are compared.
func folders() []string {
	return []string{
		"/etc", "/etc/rancher", "/etc/cni", "/etc/systemd/system", "/etc/init.d", "/etc/conf.d", "/etc/sysctl.d", "/etc/modules-load.d",
		"/etc/logrotate.d", "/usr/local/bin", "/usr/libexec", "/opt", "/opt/bin", "/run", "/run/netns",
		"/var/lib", "/var/lib/rancher", "/var/lib/cni", "/var/log",
	}
}
