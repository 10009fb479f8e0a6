package distro

import (
	"cmp"
	"context"
	_ "embed"
	"net"
	"strconv"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	units "github.com/pipeopshq/pipeops-agent/systemd"
)

//go:embed pipeops-agent-cluster.initd
var clusterInitScript string

// unit starts the cluster at boot. At the end of its start the API answers.
func (n *nodeCluster) unit() (plan.Step, error) {
	s, err := n.clusterService(n.engineUnit)
	if err != nil {
		return plan.Step{}, err
	}
	return s.step(), nil
}

// clusterService is the unit, which goes with that of the engine; "" is with none.
func (n *nodeCluster) clusterService(engineUnit string) (service, error) {
	program := cmp.Or(n.Program, "/usr/bin/pipeops-agent")
	content, err := units.ClusterUnit(program)
	if err != nil {
		return service{}, err
	}
	content = unitAfter(content, engineUnit)
	s := service{
		Install: n.Install,
		id:      "cluster-unit", title: "Start the cluster at every boot",
		name: units.Cluster, target: "/etc/systemd/system/" + units.Cluster, content: content,
		inputs:  func() (string, error) { return n.nodes.name, nil },
		timeout: clusterStartUp + engineStartUp,
	}
	switch {
	case n.Supervised:
		s, err = s.underSupervisor(supervisedCluster(program))
	case n.OpenRC:
		if _, err = agentScript(program); err == nil { // else it would need quoting
			s = s.underOpenRC(strings.Replace(clusterInitScript, "\nagent=/usr/bin/pipeops-agent\n", "\nagent="+program+"\n", 1))
		}
	}
	return s, err
}

// free reports whether nobody listens on a port of this machine.
func free(port int) bool {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
