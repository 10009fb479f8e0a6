// Package host says what is true of a machine: one typed snapshot, [Facts], collected by small probes that read files
// below an injected root, start no process, source no file and change nothing. Unknown is a value, never a guess: a
// [Known] that is not OK, an empty string, a nil slice or a nil map. Whether the facts are good enough for something is
// not judged here.
package host

// Facts is a snapshot of a machine. Every probe fills its own fields; those of a probe that failed stay unknown.
type Facts struct {
	OS             OS                `json:"os"`
	Hardware       Hardware          `json:"hardware"`
	Arch           Arch              `json:"arch"`
	Kernel         Kernel            `json:"kernel"`
	CPU            CPU               `json:"cpu"`
	Memory         Memory            `json:"memory"`
	Disk           []Disk            `json:"disk"`
	Cgroup         Cgroup            `json:"cgroup"`
	Virtualization Virtualization    `json:"virtualization"`
	Init           Init              `json:"init"`
	Listening      []Listener        `json:"listening"` // null: unknown
	Clusters       []Cluster         `json:"clusters"`  // null: unknown
	Docker         Docker            `json:"docker"`
	Commands       map[string]string `json:"commands"` // name to path; null: unknown
	Identity       Identity          `json:"identity"`
	UID            Known[int]        `json:"uid"`

	// Errors holds the text of the error of each probe that failed, by its name.
	Errors map[string]string `json:"-"`
}

// Report is the document that `probe -o json` prints.
type Report struct {
	Facts  Facts             `json:"facts"`
	Errors map[string]string `json:"errors"`
}

// Report returns the facts and the errors as one document.
func (f Facts) Report() Report {
	r := Report{Facts: f, Errors: f.Errors}
	if r.Errors == nil {
		r.Errors = map[string]string{}
	}
	return r
}
