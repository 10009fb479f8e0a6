package distro

import (
	"bytes"
	"os"
	"slices"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// dockerUnit is the unit of Docker in the packages of distributions, and in those of Docker itself; snapUnit is that of the snap.
const (
	dockerUnit = "docker.service"
	snapUnit   = "snap.docker.dockerd.service"
)

// installedEngine returns the unit of the engine that is installed on this machine; "" is none: the engine is that of Docker Desktop, or
// its socket was mounted.
func (in Install) installedEngine() string {
	for _, name := range []string{dockerUnit, snapUnit} {
		if in.hasUnit(name) {
			return name
		}
	}
	return ""
}

func (in Install) hasUnit(name string) bool {
	return slices.ContainsFunc([]string{"/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}, func(dir string) bool {
		_, err := os.Stat(in.path(dir + "/" + name))
		return err == nil
	})
}

// silent says for people why an engine does not answer: one that is installed has only to be started.
func (in Install) silent(err error) error {
	name := in.installedEngine()
	if name == "" {
		return reason.New(reason.DockerUnreachable, "", err)
	}
	return reason.New(reason.EngineStopped, "the engine does not answer", err).
		WithFix("start it, if it does not run: systemctl start " + name + "; journalctl -u " + name + " says what is the matter")
}

// engineChanges is what the step of the engine changes, for people.
func (n *nodeCluster) engineChanges() []string {
	if n.engineUnit == "" {
		return nil
	}
	return []string{n.engineUnit + " (enabled, started), where it is not"}
}

// unitAfter lets the unit that needs Docker go with what starts the engine here, or with nothing where that is no service.
func unitAfter(content []byte, engine string) []byte {
	if engine == "" {
		content = bytes.ReplaceAll(content, []byte("PartOf="+dockerUnit+"\n"), nil)
		content = bytes.ReplaceAll(content, []byte("="+dockerUnit+" "), []byte("=")) // After, Wants
		return bytes.ReplaceAll(content, []byte(" "+dockerUnit+"\n"), []byte("\n"))  // WantedBy
	}
	return bytes.ReplaceAll(content, []byte(dockerUnit), []byte(engine))
}
