package host

import (
	"context"
	"slices"
)

// Runtime is a container runtime or engine of the machine's own; those that a cluster brings along belong to it.
type Runtime struct {
	Name     string       `json:"name"` // "containerd", "docker", "podman", "cri-o"
	State    ClusterState `json:"state"`
	Socket   string       `json:"socket,omitzero"`
	Evidence []string     `json:"evidence"`
}

// runtimeKind says how a runtime is recognised.
type runtimeKind struct {
	name      string
	processes []string
	sockets   []string
	units     []string
	binaries  []string
	data      []string
}

func runtimeKinds() []runtimeKind {
	return []runtimeKind{
		{
			name: "containerd", processes: []string{"containerd"}, sockets: []string{"/run/containerd/containerd.sock"}, units: []string{"containerd.service"},
			binaries: []string{"/usr/bin/containerd", "/usr/local/bin/containerd"}, data: []string{"/var/lib/containerd/"},
		},
		{
			name: "docker", processes: []string{"dockerd"}, sockets: []string{dockerSocket}, units: []string{"docker.service", "snap.docker.dockerd.service"},
			binaries: []string{"/usr/bin/dockerd", "/usr/local/bin/dockerd", "/snap/docker/current"}, data: []string{"/var/lib/docker/", "/var/snap/docker/common/var-lib-docker/"},
		},
		{
			// it needs no daemon: conmon watches over each container
			name: "podman", processes: []string{"podman", "conmon"}, sockets: []string{"/run/podman/podman.sock"}, units: []string{"podman.service"},
			binaries: []string{"/usr/bin/podman", "/usr/local/bin/podman"}, data: []string{"/var/lib/containers/storage/"},
		},
		{
			name: "cri-o", processes: []string{"crio"}, sockets: []string{"/run/crio/crio.sock"}, units: []string{"crio.service", "cri-o.service"},
			binaries: []string{"/usr/bin/crio", "/usr/local/bin/crio"}, data: []string{"/var/lib/crio/"},
		},
	}
}

func runtimesProbe() Probe {
	return Probe{Name: "runtimes", Run: func(ctx context.Context, s *System) (Part, error) {
		names, err := processNames(ctx, s)
		var all []Runtime
		if s.Live() || names != nil {
			all = []Runtime{}
		}
		for _, k := range runtimeKinds() {
			if r, ok := k.find(s, names); ok {
				all = append(all, r)
			}
		}
		return func(f *Facts) { f.Runtimes = all }, err
	}}
}

// find looks for one kind. names are those of the running processes, nil if they are unknown.
func (k runtimeKind) find(s *System, names []string) (Runtime, bool) {
	r := Runtime{Name: k.name}
	see := func(paths []string) bool {
		n := len(r.Evidence)
		for _, p := range paths {
			if p[len(p)-1] == '/' {
				r.Evidence = append(r.Evidence, remains(s, p[:len(p)-1])...)
			} else if s.has(p) {
				r.Evidence = append(r.Evidence, p)
			}
		}
		return len(r.Evidence) > n
	}
	var units []string
	for _, u := range k.units {
		if file := unitFile(s, u); file != "" {
			units = append(units, file)
		}
	}
	installed := see(units)
	installed = see(k.binaries) || installed
	for _, socket := range k.sockets {
		if s.has(socket) {
			r.Socket = socket
			r.Evidence = append(r.Evidence, socket)
		}
	}
	left := see(k.data)
	switch {
	case k.running(names) && (r.Socket != "" || installed): // a cluster runs a containerd of its own under the same name
		r.State = Running
	case installed && names == nil:
		r.State = Doubt
	case installed:
		r.State = Stopped
	case left:
		r.State = Debris
	default: // a socket alone is another machine's, mounted here; Docker tells of it
		return Runtime{}, false
	}
	return r, true
}

func (k runtimeKind) running(names []string) bool {
	for _, p := range k.processes {
		if slices.Contains(names, p) && (p != "conmon" || !slices.Contains(names, "crio")) { // which uses conmon too
			return true
		}
	}
	return false
}
