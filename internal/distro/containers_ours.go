package distro

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/engine"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// nodesFile lists the containers of our cluster by their ids: names and labels are the same in one that somebody makes under its name
// after ours was removed by hand. It is written when a cluster is finished, so that it also tells such from half of one.
func (n *nodeCluster) nodesFile() string { return filepath.Join(n.Dir, n.nodes.name+"-nodes.json") }

// finished returns the ids of the containers of our cluster; none until it was made to its end.
func (n *nodeCluster) finished() (ids []string, err error) {
	text, err := atomicfile.Read(n.nodesFile(), maxAddresses)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &ids)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read which containers are the nodes: %w", err)
	}
	return ids, nil
}

// finish notes the containers of a cluster that is whole, or whose API has answered to our kubeconfig.
func (n *nodeCluster) finish(nodes []engine.Container) error {
	var now []string
	for _, node := range nodes {
		now = append(now, node.ID)
	}
	slices.Sort(now)
	held, err := n.finished()
	if err != nil || slices.Equal(held, now) {
		return err
	}
	text, err := json.Marshal(now)
	if err != nil {
		return err
	}
	return atomicfile.Write(n.nodesFile(), 0o600, append(text, '\n'))
}

// another returns ENGINE_NAME_TAKEN where none of the containers of our name is one of ours: not one is left of the cluster that an
// install has made, and these are somebody else's. Single nodes may have been replaced.
func (n *nodeCluster) another(nodes []engine.Container) error {
	held, err := n.finished()
	if err != nil || len(held) == 0 || len(nodes) == 0 {
		return err
	}
	if slices.ContainsFunc(nodes, func(c engine.Container) bool { return slices.Contains(held, c.ID) }) {
		return nil
	}
	return reason.Newf(reason.EngineNameTaken, "the cluster %s of %s in the engine (container %s) is another one than that which an install has made here", ClusterName, n.nodes.name, nodes[0].Name()).
		WithFix("adopt it with --distro existing after pipeops-agent uninstall, which leaves it alone; or remove it, and run pipeops-agent install, which makes ours anew")
}
