package host

import (
	"encoding/json"
	"fmt"
)

// SnapshotFile is the name of the file in a captured machine's folder that holds what is no file on the machine.
const SnapshotFile = "host.json"

// Snapshot is the content of [SnapshotFile]. Whatever is missing is unknown.
type Snapshot struct {
	About     string                 `json:"about,omitzero"` // where the capture comes from, for people
	Uname     Uname                  `json:"uname,omitzero"`
	UID       Known[int]             `json:"uid,omitzero"`
	CPUs      Known[int]             `json:"cpus,omitzero"`
	PageSize  Known[int]             `json:"page_size,omitzero"` // bytes
	Statfs    map[string]Statfs      `json:"statfs,omitzero"`    // by path: a data directory, or a parent of one
	Cgroup    string                 `json:"cgroup,omitzero"`    // "v1", "v2", "hybrid", "none"
	Listening []Listener             `json:"listening,omitzero"` // null: unknown
	Processes []string               `json:"processes,omitzero"` // names of those that belong to clusters and engines; null: unknown
	Commands  map[string]string      `json:"commands,omitzero"`  // null: unknown
	Trials    map[string]TrialResult `json:"trials,omitzero"`    // by name
	Docker    Docker                 `json:"docker,omitzero"`
	Numbers   map[string]float64     `json:"numbers,omitzero"` // "inotify_used": instances in use

	Absent         []string          `json:"absent,omitzero"`          // paths that were looked for and were not there
	Resolved       map[string]string `json:"resolved,omitzero"`        // where paths lead through links: "/usr/local/bin" to "/var/usrlocal/bin"
	Devices        Devices           `json:"devices,omitzero"`         // as in the facts
	SysctlWritable map[string]bool   `json:"sysctl_writable,omitzero"` // by name: "vm.overcommit_memory"; null: unknown
	Packages       Packages          `json:"packages,omitzero"`        // as in the facts; what is unknown is looked for in the files
	Clock          Clock             `json:"clock,omitzero"`           // likewise
	Entropy        Entropy           `json:"entropy,omitzero"`         // as in the facts

	NetworkSnapshot
}

// Uname is what the uname system call says.
type Uname struct {
	Sysname string `json:"sysname,omitzero"` // "Linux", "Darwin"; "" is unknown
	Machine string `json:"machine,omitzero"` // "x86_64"
	Release string `json:"release,omitzero"` // "6.1.0-28-amd64"
}

// Statfs is what the statfs system call says of a path.
type Statfs struct {
	Type       string        `json:"type,omitzero"` // as in /proc/self/mountinfo: "ext4"
	Total      Known[uint64] `json:"total_bytes,omitzero"`
	Free       Known[uint64] `json:"free_bytes,omitzero"` // for those who are not root
	FreeInodes Known[uint64] `json:"free_inodes,omitzero"`
	ReadOnly   Known[bool]   `json:"read_only,omitzero"`
}

// TrialResult is the outcome of one functional probe. OK unknown means that it could not be tried.
type TrialResult struct {
	OK     Known[bool]    `json:"ok"`
	Detail string         `json:"detail"`
	Value  Known[float64] `json:"value,omitzero"` // what was measured, where something was
}

// ParseSnapshot reads the content of a [SnapshotFile]. Fields that it does not know are left out.
func ParseSnapshot(b []byte) (*Snapshot, error) {
	var s Snapshot
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", SnapshotFile, err)
	}
	return &s, nil
}
