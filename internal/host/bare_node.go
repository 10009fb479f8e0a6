package host

import (
	"context"
	"path"
	"slices"
	"strings"
)

// BareNode is what minikube's driver none, which makes the machine itself a node, finds there: what it needs and does not bring, and
// what it would write over.
type BareNode struct {
	Plugins      []string    `json:"plugins"`       // of CNI, by their names, in CNIPlugins
	Networks     []string    `json:"networks"`      // paths of the configurations of CNI that are there
	CRIDocker    Known[bool] `json:"cri_docker"`    // cri-docker has its units
	EngineConfig Known[bool] `json:"engine_config"` // Docker has a configuration of its own, daemon.json
}

const (
	// CNIPlugins is where plugins of CNI are looked for.
	CNIPlugins = "/opt/cni/bin"
	// CNINetworks is where their configurations are.
	CNINetworks = "/etc/cni/net.d"
	// maxNetworks bounds the configurations that are listed.
	maxNetworks = 32
)

func bareNodeProbe() Probe {
	return Probe{Name: "bare-node", Run: func(_ context.Context, s *System) (Part, error) {
		n := BareNode{EngineConfig: s.Exists(dockerConfig)}
		n.CRIDocker = Is(unitFile(s, "cri-docker.service") != "" && socketUnit(s, "cri-docker.socket"))
		for _, name := range BarePlugins() {
			if s.has(path.Join(CNIPlugins, name)) {
				n.Plugins = append(n.Plugins, name)
			}
		}
		entries, _ := s.readDir(CNINetworks) // that there is none is no failure
		for _, e := range entries[:min(len(entries), maxNetworks)] {
			if p := path.Join(CNINetworks, clean(e.Name())); !strings.HasPrefix(e.Name(), ".") && s.has(p) {
				n.Networks = append(n.Networks, p)
			}
		}
		return func(f *Facts) { f.BareNode = n }, nil
	}}
}

// BarePlugins lists the plugins of CNI by which minikube v1.37.0 connects pods where there is no node image that has them: those
// that its bridge names (pkg/minikube/cni/bridge.go), and loopback, which every runtime calls.
func BarePlugins() []string {
	return []string{"bridge", "firewall", "host-local", "loopback", "portmap"}
}

// socketUnit tells whether there is such a unit of systemd.
func socketUnit(s *System, name string) bool {
	return slices.ContainsFunc([]string{"/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}, func(dir string) bool {
		return s.has(path.Join(dir, name))
	})
}
