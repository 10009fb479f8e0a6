package doctor

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// installed reports whether pipeops-agent was installed on the machine, or has begun to be. Settings alone say nothing: they
// may have been put in place before.
func (p Patient) installed() bool {
	return p.Enrolled || p.Begun != nil || p.Agent != nil || reason.Is(p.Silence, reason.HostNotRoot) || slices.ContainsFunc(p.Facts.Clusters, ours)
}

func ours(c host.Cluster) bool { return c.Ours.Value }

// distribution is the one that was installed; distro.Auto if that is not known.
func (p Patient) distribution() string {
	if p.Agent != nil && p.Agent.Distro != "" {
		return p.Agent.Distro
	}
	for _, c := range p.Facts.Clusters {
		if _, known := distro.Get(c.Name); known && ours(c) {
			return c.Name
		}
	}
	if p.Request.Distro == "" {
		return distro.Auto
	}
	return p.Request.Distro
}

// agentFindings judges what the agent says of itself, or that it says nothing.
func (p Patient) agentFindings() []Finding {
	var all []Finding
	switch {
	case p.Agent != nil:
		for _, c := range health.All() {
			if f, ok := condition(c, p.Agent.Conditions); ok {
				if layer(c.Type) {
					f.Fix = distro.LayerFix(f.Code, p.Facts)
				}
				all = append(all, f)
			}
		}
		return all
	case reason.Is(p.Silence, reason.HostNotRoot):
		all = append(all, found(Note, reason.HostNotRoot, "the agent answers to root only", ""))
	case p.Silence != nil && p.Begun == nil: // else it may not have been started yet
		all = append(all, found(Broken, reason.AgentNotRunning, text(p.Silence), distro.Mend(p.Facts, "pipeops-agent")))
	}
	if !p.Expires.IsZero() && p.Now.After(p.Expires) {
		all = append(all, found(Attention, reason.CertificateExpired, "at "+p.Expires.UTC().Format(time.RFC3339), ""))
	}
	return all
}

// text is what was seen, without the title.
func text(err error) string {
	var e *reason.Error
	if errors.As(err, &e) && e.Evidence != "" {
		return e.Evidence
	}
	return err.Error()
}

// condition judges one of the agent's conditions. One that nobody has reported yet, and that nothing hangs on, says nothing.
func condition(declared health.Condition, reported []wire.Condition) (Finding, bool) {
	c := wire.Condition{Type: declared.Type, Status: health.Unknown}
	for _, r := range reported {
		if r.Type == declared.Type {
			c = r
		}
	}
	if c.Status == health.True || c.Status != health.False && !declared.Vital {
		return Finding{}, false
	}
	severity := Attention
	if declared.Vital {
		severity = Broken
	}
	evidence := fmt.Sprintf("the condition %s is %s", c.Type, c.Status)
	for _, part := range []string{c.Reason, c.Message} {
		if part != "" {
			evidence += ": " + part
		}
	}
	f := found(severity, codeOf(c), evidence, "")
	if !c.Checked.IsZero() {
		f.Evidence += ", tried last at " + c.Checked.UTC().Format(time.RFC3339)
	}
	if !c.Since.IsZero() {
		f.Evidence += ", since " + c.Since.UTC().Format(time.RFC3339)
	}
	return f, true
}

// layer reports whether a condition is that of a layer of the cluster, of whose failure the facts know causes.
func layer(kind string) bool {
	switch kind {
	case health.DNS, health.PodsRun, health.PodNetwork, health.ServiceAddress, health.LargePacket, health.Storage:
		return true
	}
	return false
}

// codeOf finds the entry of the catalogue for a condition: many give a code as their reason.
func codeOf(c wire.Condition) reason.Code {
	if e, ok := reason.Find(c.Reason); ok {
		return e.Code
	}
	switch c.Type {
	case health.Tunnel:
		return reason.GatewayUnreachable
	case health.Certificate:
		return reason.CertificateExpired
	case health.DesiredState:
		return reason.ProjectUnreachable
	case health.ClusterAccess:
		return reason.ClusterAccess
	case health.NodesReady:
		return reason.LayerNode
	}
	return reason.ClusterUnhealthy
}

// Ails reports whether a k3s that pipeops-agent installed is not as it should be, so that what it said is worth reading.
func (p Patient) Ails() bool {
	if p.distribution() != distro.K3s || !slices.ContainsFunc(p.Facts.Clusters, ours) {
		return false
	}
	if p.Agent == nil {
		return !p.runs()
	}
	return slices.ContainsFunc([]string{health.ClusterReachable, health.NodesReady}, func(kind string) bool {
		_, bad := condition(health.Condition{Type: kind, Vital: true}, p.Agent.Conditions)
		return bad
	})
}

// diagnosis names the root cause, where the words of the cluster tell it.
func (p Patient) diagnosis() []Finding {
	if !p.Ails() {
		return nil
	}
	d, ok := distro.Diagnose(p.Words, p.Facts)
	if !ok {
		return nil
	}
	return []Finding{found(Broken, d.Cause.Code, d.Evidence(), d.Cause.Fix)}
}

// clusterFindings looks for contradictions between what was installed and what is there.
func (p Patient) clusterFindings() []Finding {
	var all []Finding
	for _, c := range p.Facts.Clusters {
		switch {
		case !ours(c):
		case c.State == host.Stopped:
			all = append(all, found(Broken, reason.ClusterUnhealthy, c.Name+", which pipeops-agent installed, is not running",
				distro.Mend(p.Facts, c.Unit)))
		case c.State == host.Unfinished:
			all = append(all, found(Broken, reason.ClusterUnfinished, c.Name+" "+c.Cluster+", which pipeops-agent began to make, has never run",
				"run pipeops-agent install again: it removes what is half made and makes it anew"))
		case c.State == host.Debris:
			all = append(all, found(Broken, reason.ClusterUnhealthy, c.Name+" is there in part only: what starts it is missing",
				"run pipeops-agent install again: it puts back what is missing"))
		}
	}
	name := p.distribution()
	if name == distro.K3s && p.Facts.Clusters != nil && !slices.ContainsFunc(p.Facts.Clusters, func(c host.Cluster) bool { return c.Name == name && c.Ours.Or(true) }) {
		all = append(all, found(Broken, reason.ClusterNone, name+" was installed here, and is gone", "run pipeops-agent install again: it puts back what is missing"))
	}
	return all
}

// runs reports whether the cluster that was installed does its work, as far as one can see.
func (p Patient) runs() bool {
	if p.Agent != nil {
		_, ok := condition(health.Condition{Type: health.ClusterReachable, Vital: true}, p.Agent.Conditions)
		return !ok
	}
	return slices.ContainsFunc(p.Facts.Clusters, func(c host.Cluster) bool { return c.State == host.Running && c.Ours.Or(true) })
}
