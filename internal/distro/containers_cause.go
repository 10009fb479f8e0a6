package distro

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/command"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// toolCause is a line by which k3d, kind, minikube, or the engine through them, say why no cluster could be made.
type toolCause struct {
	says *regexp.Regexp
	code reason.Code
	fix  string // "" is that of the code
}

// toolCauses lists them, the most telling first. The words are those of Docker 19 to 29 (moby: daemon/container.go, libnetwork,
// client/errors.go) and of the tools.
func toolCauses() []toolCause {
	words := regexp.MustCompile
	return []toolCause{
		{says: words(`GUEST_MISSING_[A-Z]+|NOT_FOUND_(CRI_DOCKERD|DOCKERD|CNI_PLUGINS)|RUNTIME_ENABLE|DRV_NEEDS_ROOT|which crictl`), code: reason.MinikubeNone},
		{says: words(`port is already allocated|[Pp]ort \d+ is in use|address already in use|[Pp]orts are not available`), code: reason.NetPortTaken, fix: otherPort},
		{says: words(`is already in use by container|already exist for a cluster with the name|a cluster with that name already exists|network with name \S+ already exists`), code: reason.EngineNameTaken},
		{says: words(`[Ff]ailed to pull image|No such image|manifest unknown|pull access denied|[Uu]nable to find image|manifest for .* not found`), code: reason.EngineImageMissing},
		{says: words(`client version \S+ is too old`), code: reason.DockerTooNew},
		{says: words(`client version \S+ is too new|requires API version`), code: reason.DockerTooOld},
		{says: words(`permission denied while trying to connect`), code: reason.DockerUnreachable, fix: "run the command as root"},
		{says: words(`PROVIDER_DOCKER_VERSION_LOW`), code: reason.DockerTooOld},
		{says: words(`RSRC_[A-Z_]*CORES`), code: reason.HostCPU},
		{says: words(`RSRC_[A-Z_]*MEM`), code: reason.HostMemoryLow},
		{says: words(`RSRC_[A-Z_]*STORAGE`), code: reason.HostDiskLow},
		{says: words(`[A-Z]_DOCKER_NOT_RUNNING|PROVIDER_DOCKER_NEWGRP|[Cc]annot connect to the Docker daemon|[Ii]s the docker daemon running|executable file not found in \$PATH`), code: reason.DockerUnreachable},
		{says: words(`rootless provider requires`), code: reason.DockerRootless},
		{says: words(`should not be used with root privileges|DRV_AS_ROOT`), code: reason.MinikubeRoot},
		{says: words(`too many open files|inotify_init|no space left on device: inotify`), code: reason.HostInotify},
		{says: words(`no space left on device`), code: reason.HostDiskLow},
	}
}

// maxToolLine bounds the line of a tool that is told, in bytes.
const maxToolLine = 300

// causeOf names the cause of a tool's failure where a line of what it said last tells it; else the error stays as it is.
func (n *nodeCluster) causeOf(err error) error {
	var failed *command.Error
	if !errors.As(err, &failed) {
		return err
	}
	said := failed.Stderr
	if failed.Exit < 0 {
		said += "\n" + fmt.Sprint(failed.Err) // it was not there to say anything
	}
	for _, c := range toolCauses() {
		for line := range strings.Lines(said) {
			if !c.says.MatchString(line) {
				continue
			}
			line = strings.Join(strings.Fields(strings.ToValidUTF8(line, "")), " ")
			if at := c.says.FindStringIndex(line); at != nil && len(line) > maxToolLine {
				line = strings.ToValidUTF8(line[max(0, at[1]-maxToolLine):at[1]], "")
			}
			e := reason.New(c.code, n.nodes.name+" says: "+line, err)
			if c.fix != "" {
				e = e.WithFix(c.fix)
			}
			return e
		}
	}
	return err
}
