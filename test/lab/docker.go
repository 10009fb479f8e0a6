package lab

import _ "embed"

// runcScript lets Docker start containers where this host has not every capability.
//
//go:embed runc.sh
var runcScript string

// dockerPackages is Docker as Debian 12 has it: docker.io 20.10 with containerd and runc.
func dockerPackages() []string { return []string{"docker.io"} }

// PrepareDocker lays ready what Docker needs in a machine that does not have it yet: then it works as soon as somebody
// installs it there.
func (m *Machine) PrepareDocker() error {
	for _, f := range dockerFiles(m.options.OpenRC) {
		if err := m.PushBytes([]byte(f.content), f.path, f.mode); err != nil {
			return err
		}
	}
	return nil
}

// dockerFiles make Docker work in a machine. Its services ask for an OOM score below zero, and its privileged containers for
// all capabilities; a host without CAP_SYS_RESOURCE has neither to give.
// Nothing below /etc/docker is taken: that folder is for those who test.
func dockerFiles(openrc bool) []file {
	files := []file{{"/usr/local/sbin/runc", runcScript, 0o755}}
	if openrc {
		return files
	}
	for _, unit := range []string{"docker", "containerd"} {
		files = append(files, file{"/etc/systemd/system/" + unit + ".service.d/lab.conf", "[Service]\nOOMScoreAdjust=0\n", 0o644})
	}
	return files
}
