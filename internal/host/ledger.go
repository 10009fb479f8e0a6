package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
)

// LedgerFile is where the agent records every change before it makes it. A cluster is ours if a change of its binary or
// its unit is in force, also after a crash.
const LedgerFile = StateDir + "/ledger.jsonl"

// ClusterUnit starts a cluster in containers that the agent has installed.
const ClusterUnit = "pipeops-agent-cluster.service"

// ContainerCluster is the target of the ledger's record of a cluster in containers, by its distribution and its own name:
// "k3d/pipeops".
func ContainerCluster(distro, cluster string) string { return distro + "/" + cluster }

// readLedger returns the targets of the changes that are in force; false if they cannot be seen: only root may.
func readLedger(s *System) (map[string]bool, bool) {
	b, err := s.ReadFile(LedgerFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, true
	case err != nil:
		return nil, false
	}
	return ParseLedger(b), true
}

// ParseLedger returns the targets of the changes that have been begun and not undone. Lines that it does not understand,
// such as a torn last one, are left out.
func ParseLedger(b []byte) map[string]bool {
	targets := map[int]string{}
	for line := range bytes.Lines(b) {
		var r struct {
			Op, Target string
			ID         int
		}
		if json.Unmarshal(line, &r) != nil {
			continue
		}
		switch r.Op {
		case "change":
			targets[r.ID] = r.Target
		case "undone", "left":
			delete(targets, r.ID)
		}
	}
	inForce := map[string]bool{}
	for _, t := range targets {
		inForce[t] = true
	}
	return inForce
}
