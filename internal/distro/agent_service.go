package distro

import (
	"bytes"
	"context"
	"os"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	units "github.com/pipeopshq/pipeops-agent/systemd"
)

// AgentService returns the step that writes the agent's own unit, unless a package has brought the same, or its script for
// OpenRC, and starts it.
// The service is restarted when the binary or one of the inputs, such as the text of its configuration, has changed.
func AgentService(in Install, binary string, inputs ...string) (plan.Step, error) {
	content, err := units.AgentUnit(binary, in.secrets()...)
	if err != nil {
		return plan.Step{}, err
	}
	s := service{
		Install: in,
		id:      "agent-unit", title: "Start the agent's service",
		name: units.Agent, target: "/etc/systemd/system/" + units.Agent, content: content,
		inputs: func() (string, error) {
			sum, err := plan.Digest(in.path(binary))
			return strings.Join(append([]string{sum}, inputs...), "\x00"), err
		},
		timeout: 2 * time.Minute,
	}
	if in.OpenRC {
		script, err := agentScript(binary)
		if err != nil {
			return plan.Step{}, err
		}
		s.makes = func(_ context.Context, r *plan.Recorder) error { return r.Own("/run/pipeops-agent") } // of its socket
		return s.underOpenRC(script).step(), nil
	}
	if in.Supervised {
		if s, err = s.underSupervisor(supervisedAgent(in, binary)); err != nil {
			return plan.Step{}, err
		}
		return s.step(), nil
	}
	for _, dir := range []string{"/usr/lib/systemd/system/", "/lib/systemd/system/"} {
		if packaged, err := os.ReadFile(in.path(dir + units.Agent)); err == nil && bytes.Equal(packaged, content) {
			s.target = ""
		}
	}
	return s.step(), nil
}

// secrets are the folders of a k3s that keeps its data elsewhere whose content makes an administrator of the cluster. The unit has
// those of the usual place.
func (in Install) secrets() []string {
	var all []string
	for _, r := range in.Remedies {
		if dir, err := r.one(); r.ID == RemedyDataDir && err == nil && isDataDir(dir) {
			all = append(all, dir+"/server/cred", dir+"/server/tls", dir+"/server/db")
		}
	}
	return all
}
