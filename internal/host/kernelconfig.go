package host

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
)

// KernelConfig is how the running kernel was built. Many kernels do not tell, and what they tell is only a hint.
type KernelConfig struct {
	Source string `json:"source"` // path of the file that was read; "" is unknown
	// Options gives those that Kubernetes needs, "CONFIG_OVERLAY_FS", as "y", "m" or "n"; null: unknown. One that the file
	// does not name is not in it: it may have another name in this version.
	Options map[string]string `json:"options"`
}

// configGz is the configuration that a kernel with CONFIG_IKCONFIG_PROC carries.
const configGz = "/proc/config.gz"

// maxConfig bounds a decompressed configuration, which has about 300 KiB.
const maxConfig = 4 << 20

// kernelOptions lists what kubeadm's and k3s' own checks ask for, without CONFIG_.
func kernelOptions() []string {
	return []string{
		"BRIDGE", "BRIDGE_NETFILTER", "CFS_BANDWIDTH", "CGROUPS", "CGROUP_BPF", "CGROUP_CPUACCT", "CGROUP_DEVICE", "CGROUP_FREEZER",
		"CGROUP_PIDS", "CGROUP_SCHED", "CPUSETS", "FAIR_GROUP_SCHED", "INET", "IPC_NS", "IP_NF_FILTER", "IP_NF_IPTABLES", "IP_NF_NAT",
		"IP_NF_TARGET_REJECT", "IP_VS", "KEYS", "MEMCG", "NAMESPACES", "NETFILTER_XT_MATCH_ADDRTYPE", "NETFILTER_XT_MATCH_COMMENT",
		"NETFILTER_XT_MATCH_CONNTRACK", "NETFILTER_XT_MATCH_MULTIPORT", "NETFILTER_XT_TARGET_MASQUERADE", "NET_NS", "NFT_COMPAT",
		"NF_CONNTRACK", "NF_NAT", "NF_TABLES", "OVERLAY_FS", "PID_NS", "POSIX_MQUEUE", "SECCOMP", "USER_NS", "UTS_NS", "VETH", "VXLAN",
		"WIREGUARD",
	}
}

func kernelConfigProbe() Probe {
	return Probe{Name: "kernel-config", Run: func(_ context.Context, s *System) (Part, error) {
		release, _ := readRelease(s) // the kernel probe tells of the error
		c := readKernelConfig(s, release)
		return func(f *Facts) { f.KernelConfig = c }, nil
	}}
}

func readKernelConfig(s *System, release string) KernelConfig {
	paths := []string{configGz}
	if releasePath(release) {
		paths = append(paths, "/boot/config-"+release, "/usr/lib/modules/"+release+"/config", "/usr/lib/ostree-boot/config-"+release,
			"/usr/lib/kernel/config-"+release, "/lib/modules/"+release+"/build/.config")
	}
	for _, path := range paths {
		b, err := s.ReadFile(path)
		if err == nil && path == configGz {
			b, err = gunzip(b)
		}
		if err != nil {
			continue
		}
		if options := ParseKernelConfig(b); len(options) > 0 {
			return KernelConfig{Source: path, Options: options}
		}
	}
	return KernelConfig{}
}

// ParseKernelConfig returns the options of interest of a kernel's .config file.
func ParseKernelConfig(b []byte) map[string]string {
	wanted := kernelOptions()
	found := map[string]string{}
	for line := range bytes.Lines(b) {
		text := string(bytes.TrimSpace(line[:min(len(line), maxText)]))
		name, value, ok := strings.Cut(text, "=")
		if off, is := strings.CutPrefix(text, "# "); is {
			name, ok = strings.CutSuffix(off, " is not set")
			value = "n"
		}
		short, is := strings.CutPrefix(name, "CONFIG_")
		if !ok || !is || value != "y" && value != "m" && value != "n" {
			continue
		}
		if _, wants := slices.BinarySearch(wanted, short); wants {
			found[name] = value
		}
	}
	return found
}

// keepKernelConfig writes the options of interest anew.
func keepKernelConfig(b []byte) []byte {
	options := ParseKernelConfig(b)
	var out []byte
	for _, short := range kernelOptions() {
		if v, ok := options["CONFIG_"+short]; ok {
			out = fmt.Appendf(out, "CONFIG_%s=%s\n", short, v)
		}
	}
	return out
}

// keepConfigGz is keepKernelConfig for the compressed file; what is none is left out.
func keepConfigGz(b []byte) []byte {
	b, err := gunzip(b)
	if err != nil {
		return nil
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(keepKernelConfig(b)); err != nil {
		return nil
	}
	if err := z.Close(); err != nil {
		return nil
	}
	return out.Bytes()
}

// gunzip decompresses at most [maxConfig] bytes.
func gunzip(b []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("cannot decompress the kernel's configuration: %w", err)
	}
	if b, err = io.ReadAll(io.LimitReader(z, maxConfig)); err != nil {
		return nil, fmt.Errorf("cannot decompress the kernel's configuration: %w", err)
	}
	return b, nil
}
