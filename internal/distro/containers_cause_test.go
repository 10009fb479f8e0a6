package distro

import (
	"errors"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/command"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// TestToolCauses: what tools and engines say when they make no cluster, and for what reason that is.
func TestToolCauses(t *testing.T) {
	for _, tt := range []struct {
		says string
		code reason.Code
	}{
		{`Error response from daemon: driver failed programming external connectivity: Bind for 127.0.0.1:6550 failed: port is already allocated`, reason.NetPortTaken},
		{`Error response from daemon: Conflict. The container name "/k3d-pipeops-server-0" is already in use by container "1f"`, reason.EngineNameTaken},
		{`FATA[0000] Failed to create cluster 'pipeops' because a cluster with that name already exists`, reason.EngineNameTaken},
		{`ERROR: failed to create cluster: node(s) already exist for a cluster with the name "pipeops"`, reason.EngineNameTaken},
		{`docker: Error response from daemon: pull access denied for kindest/node`, reason.EngineImageMissing},
		{`Error response from daemon: client version 1.43 is too old. Minimum supported API version is 1.44`, reason.DockerTooNew},
		{`Error response from daemon: client version 1.52 is too new. Maximum supported API version is 1.40`, reason.DockerTooOld},
		{`permission denied while trying to connect to the Docker daemon socket at unix:///run/docker.sock`, reason.DockerUnreachable},
		{`Cannot connect to the Docker daemon at unix:///run/docker.sock. Is the docker daemon running?`, reason.DockerUnreachable},
		{`X Exiting due to PROVIDER_DOCKER_NOT_RUNNING: "docker version" exit status 1`, reason.DockerUnreachable},
		{`X Exiting due to DRV_DOCKER_NOT_RUNNING: Found docker, but the docker service isn't running`, reason.DockerUnreachable},
		{`X Exiting due to PROVIDER_DOCKER_VERSION_LOW: docker version is below the minimum`, reason.DockerTooOld},
		{`X Exiting due to DRV_AS_ROOT: The "docker" driver should not be used with root privileges.`, reason.MinikubeRoot},
		{`X Exiting due to RSRC_INSUFFICIENT_CORES: Requested cpu count 2 is greater than the available cpus of 1`, reason.HostCPU},
		{`X Exiting due to RSRC_INSUFFICIENT_CONTAINER_MEMORY: docker only has 900MiB available, less than the required 1800MiB for Kubernetes`, reason.HostMemoryLow},
		{`X Exiting due to RSRC_DOCKER_STORAGE: Docker is out of disk space!`, reason.HostDiskLow},
		{`ERROR: failed to create cluster: rootless provider requires setting systemd property "Delegate=yes"`, reason.DockerRootless},
		{`write /var/lib/docker/tmp: no space left on device`, reason.HostDiskLow},
		{`cannot watch: no space left on device: inotify`, reason.HostInotify},
		{`Failed to create watcher: too many open files`, reason.HostInotify},
	} {
		n := nodeCluster{nodes: minikubeNodes()}
		err := n.causeOf(&command.Error{Argv: []string{"tool"}, Exit: 1, Stderr: "working ...\n" + tt.says + "\nbye\n", Err: errors.New("exit status 1")})
		if !reason.Is(err, tt.code) {
			t.Errorf("%s: %v, want %s", tt.says, err, tt.code)
		}
	}
	unknown := &command.Error{Argv: []string{"tool"}, Exit: 1, Stderr: "something else", Err: errors.New("exit status 1")}
	n := nodeCluster{nodes: k3dNodes()}
	if err := n.causeOf(unknown); err != error(unknown) {
		t.Errorf("%v", err)
	}
}
