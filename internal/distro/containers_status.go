package distro

import (
	"context"

	"github.com/pipeopshq/pipeops-agent/internal/engine"
)

// ClusterState is how a cluster in containers is now.
type ClusterState struct {
	Distro string      `json:"distro"`
	Name   string      `json:"name"`
	API    APIState    `json:"api"`
	Nodes  []NodeState `json:"nodes"` // in the order in which they are started
	Logs   string      `json:"-"`     // the command that shows what the first of them says
}

// APIState says whether the API server answers.
type APIState struct {
	Answers bool   `json:"answers"`
	Address string `json:"address,omitzero"` // HOST:PORT on this machine
	Error   string `json:"error,omitzero"`
}

// NodeState is one container, or the machine itself, which has neither policy nor image.
type NodeState struct {
	Name    string `json:"name"`
	Role    string `json:"role"`
	State   string `json:"state"`            // "running", "exited", ...
	Restart string `json:"restart,omitzero"` // the engine's policy
	Address string `json:"address,omitzero"`
	Image   string `json:"image,omitzero"`
}

// LookAtCluster returns how the cluster of ours is now.
func LookAtCluster(ctx context.Context, in Install, name string) (ClusterState, error) {
	if in.madeByNone(name) {
		return in.lookAtMinikubeNone(ctx)
	}
	n, err := ourNodes(in, name)
	if err != nil {
		return ClusterState{}, err
	}
	c, err := n.engineOf(ctx)
	if err != nil {
		return ClusterState{}, err
	}
	defer c.Close()
	nodes, err := n.containers(ctx)
	if err != nil {
		return ClusterState{}, err
	}
	s := ClusterState{Distro: name, Name: ClusterName, Nodes: []NodeState{}}
	for _, node := range nodes {
		d, err := c.Container(ctx, node.ID)
		if err != nil {
			return s, err
		}
		s.Nodes = append(s.Nodes, n.nodeState(node, d))
	}
	if len(nodes) > 0 {
		s.Logs = "docker logs " + nodes[0].Name()
	}
	if s.API.Address, err = n.published(ctx, c, nodes); err != nil {
		return s, err
	}
	if err := n.apiAnswers(ctx); err != nil {
		s.API.Error = err.Error()
		return s, nil
	}
	s.API.Answers = true
	return s, nil
}

func (n *nodeCluster) nodeState(node engine.Container, d engine.Details) NodeState {
	s := NodeState{Name: node.Name(), Role: node.Labels[n.nodes.role], State: d.State.Status, Restart: d.HostConfig.RestartPolicy.Name, Image: d.Config.Image}
	for _, w := range d.NetworkSettings.Networks {
		if w.IPAddress != "" {
			s.Address = w.IPAddress
		}
	}
	return s
}
