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
	Volumes        []Disk            `json:"volumes"` // others on which a cluster could keep its data; null: unknown
	Cgroup         Cgroup            `json:"cgroup"`
	Virtualization Virtualization    `json:"virtualization"`
	Init           Init              `json:"init"`
	Listening      []Listener        `json:"listening"` // null: unknown
	Clusters       []Cluster         `json:"clusters"`  // null: unknown
	Docker         Docker            `json:"docker"`
	Commands       map[string]string `json:"commands"` // name to path; null: unknown
	Identity       Identity          `json:"identity"`
	UID            Known[int]        `json:"uid"`

	Modules      Modules      `json:"modules"`
	KernelConfig KernelConfig `json:"kernel_config"`
	LSM          LSM          `json:"lsm"`
	Keyring      Keyring      `json:"keyring"`
	Inotify      Inotify      `json:"inotify"`
	Swap         Swap         `json:"swap"`
	Limits       Limits       `json:"limits"`
	Entropy      Entropy      `json:"entropy"`
	Devices      Devices      `json:"devices"`
	Sysctl       Sysctl       `json:"sysctl"`
	Roots        Roots        `json:"roots"`
	Packages     Packages     `json:"packages"`
	Clock        Clock        `json:"clock"`
	Routes       []Route      `json:"routes"` // null: unknown
	Links        []Link       `json:"links"`  // null: unknown
	Addresses    Addresses    `json:"addresses"`
	DNS          DNS          `json:"dns"`
	Proxy        Proxy        `json:"proxy"`
	IPTables     IPTables     `json:"iptables"`
	Firewall     Firewall     `json:"firewall"`
	Cloud        Cloud        `json:"cloud"`
	Neighbours   []Neighbour  `json:"neighbours"` // null: unknown
	Runtimes     []Runtime    `json:"runtimes"`   // null: unknown
	Boot         Boot         `json:"boot"`
	BareNode     BareNode     `json:"bare_node"`
	Reach        []Endpoint   `json:"reach"` // null: unknown, as always without System.Network

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
