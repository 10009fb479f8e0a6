package host

import (
	"bytes"
	"encoding/json"
)

// LedgerFile is where the agent records every change before it makes it. A cluster is ours if a change of its binary or
// its unit is in force, also after a crash.
const LedgerFile = StateDir + "/ledger.jsonl"

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
