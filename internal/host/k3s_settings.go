package host

import (
	"bytes"
	"slices"
	"strconv"

	"sigs.k8s.io/yaml"
)

// Files of the configuration of k3s that the agent writes. The second is read after the first.
const (
	k3sConfigFile   = "/etc/rancher/k3s/config.yaml"
	k3sConfigDropIn = "/etc/rancher/k3s/config.yaml.d/50-pipeops-agent.yaml"
)

// maxK3sConfig bounds such a file.
const maxK3sConfig = 64 << 10

// lastingSettings are those that a cluster is made with: another value breaks it, or makes it another one. "server" is the
// server of a cluster that the machine has joined.
func lastingSettings() []string {
	return []string{"cluster-cidr", "service-cidr", "flannel-backend", "snapshotter", "node-name", "data-dir", "cluster-init", "server"}
}

// readK3sSettings returns with what a k3s was configured; nil if that cannot be read.
func readK3sSettings(s *System) map[string]string {
	var all map[string]string
	for _, path := range []string{k3sConfigFile, k3sConfigDropIn} {
		b, err := s.ReadFile(path)
		if err != nil {
			continue
		}
		if all == nil {
			all = map[string]string{}
		}
		for key, value := range ParseK3sSettings(b) {
			all[key] = value
		}
	}
	if all != nil && sharesRoot(s) {
		all[SharedRoot] = "yes"
	}
	return all
}

// SharedRoot is the setting of a k3s of ours that makes "/" a shared mount before it starts. Once it has started the mount
// is shared, so that only this tells that it has to be made so at the next boot too.
const SharedRoot = "shared-root"

// sharesRoot looks for it where an install puts it: a drop-in of the unit, the script of OpenRC, or the service of a supervisor.
func sharesRoot(s *System) bool {
	script, err := s.ReadFile("/etc/init.d/k3s")
	if service, err := s.ReadFile(supervisedK3s); err == nil && bytes.Contains(service, []byte("\n  \"shared\": true")) {
		return true
	}
	return s.has("/etc/systemd/system/k3s.service.d/50-pipeops-shared-root.conf") || err == nil && bytes.Contains(script, []byte("\nshared_root=yes\n"))
}

// ParseK3sSettings returns of a configuration of k3s the settings that a cluster is made with. All others are left alone:
// they may be secret.
func ParseK3sSettings(b []byte) map[string]string {
	var v map[string]any
	if len(b) > maxK3sConfig || yaml.Unmarshal(b, &v) != nil {
		return nil
	}
	all := map[string]string{}
	for key, value := range v {
		if !slices.Contains(lastingSettings(), key) {
			continue
		}
		switch v := value.(type) {
		case string:
			all[key] = clean(v)
		case bool:
			all[key] = strconv.FormatBool(v)
		}
	}
	return all
}
