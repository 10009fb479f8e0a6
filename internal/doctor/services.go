package doctor

import (
	"fmt"

	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// serviceFindings judges what runs the services, where that is we.
func (p Patient) serviceFindings() []Finding {
	if !distro.Supervised(p.Facts) {
		return nil
	}
	if p.Services == nil {
		if p.Alone == nil || reason.Is(p.Alone, reason.HostNotRoot) {
			return nil
		}
		return []Finding{found(Broken, reason.SupervisorUnreachable, text(p.Alone), "")}
	}
	var all []Finding
	for _, s := range p.Services.Services {
		if !s.Ails() {
			continue
		}
		code := reason.ClusterUnhealthy
		if s.Name == "pipeops-agent" {
			code = reason.AgentNotRunning
		}
		all = append(all, found(Broken, code, fmt.Sprintf("the service %s is %s", s.Name, s.Text(p.Now)), distro.Mend(p.Facts, s.Name)))
	}
	return all
}
