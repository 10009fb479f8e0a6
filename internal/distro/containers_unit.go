package distro

import (
	"cmp"
	"net"
	"strconv"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	units "github.com/pipeopshq/pipeops-agent/systemd"
)

// unit starts the cluster at boot. At the end of its start the API answers.
func (n *nodeCluster) unit() (plan.Step, error) {
	content, err := units.ClusterUnit(cmp.Or(n.Program, "/usr/bin/pipeops-agent"))
	if err != nil {
		return plan.Step{}, err
	}
	content = unitAfter(content, n.engineUnit)
	s := service{
		Install: n.Install,
		id:      "cluster-unit", title: "Start the cluster at every boot",
		name: units.Cluster, target: "/etc/systemd/system/" + units.Cluster, content: content,
		inputs:  func() (string, error) { return n.nodes.name, nil },
		timeout: clusterStartUp + engineStartUp,
	}
	return s.step(), nil
}

// free reports whether nobody listens on a port of this machine.
func free(port int) bool {
	l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
