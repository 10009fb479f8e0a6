package host

import (
	"context"
	"maps"
	"path"
)

// commandDirs is root's usual PATH. The PATH of this process is not asked: sudo and systemd each set another.
func commandDirs() []string {
	return []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/snap/bin", "/opt/bin"}
}

// commandNames lists the programs that matter to a decision or to a diagnosis.
func commandNames() []string {
	return []string{
		"apk", "apparmor_parser", "apt-get", "conntrack", "cri-dockerd", "crictl", "curl", "dnf", "docker", "dockerd", "firewall-cmd", "fuse-overlayfs", "helm", "ip",
		"ip6tables", "iptables", "k0s", "k3d", "k3s", "kind", "kubeadm", "kubectl", "kubelet", "microk8s", "minikube", "modprobe",
		"mount.nfs", "nerdctl", "nft", "pacman", "podman", "rke2", "rpm-ostree", "snap", "sudo", "systemctl", "transactional-update",
		"ufw", "yum", "zypper",
	}
}

func commandsProbe() Probe {
	return Probe{Name: "commands", Run: func(ctx context.Context, s *System) (Part, error) {
		found := map[string]string{}
		maps.Copy(found, s.Snapshot().Commands)
		for _, name := range commandNames() {
			if _, ok := found[name]; ok {
				continue
			}
			if p := findCommand(s, name); p != "" {
				found[name] = p
			}
		}
		if !s.Live() && len(found) == 0 && s.Snapshot().Commands == nil {
			found = nil // a capture that holds no program says nothing of them
		}
		return func(f *Facts) { f.Commands = found }, ctx.Err()
	}}
}

// findCommand returns the path of a program; "" is not found.
func findCommand(s *System, name string) string {
	for _, dir := range commandDirs() {
		p := path.Join(dir, name)
		if info, err := s.stat(p); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return p
		}
	}
	return ""
}
