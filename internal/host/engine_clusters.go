package host

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
)

// Container is a node of a cluster in the Docker engine. Of its labels only those that name the cluster and the role are kept.
type Container struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
	State  string            `json:"state"` // "created", "running", "exited", ...

	APIPort int `json:"api_port,omitzero"` // of the machine, behind which the API of Kubernetes is; 0: none
}

// engineKind says how a cluster whose nodes are containers is recognised.
type engineKind struct {
	name    string
	filter  string   // label that all its containers have, as a filter of the Docker API
	cluster string   // label with the cluster's own name
	role    string   // label with the part that a container plays
	servers []string // values of role of those that serve the API; nil: all do
	profile string   // pattern in a home: one file or folder for each cluster
	prefix  string   // of the name of that file
	suffix  string
	apiPort int // on which the API listens inside
}

func engineKinds() []engineKind {
	return []engineKind{
		{
			name: "k3d", filter: "app=k3d", cluster: "k3d.cluster", role: "k3d.role", servers: []string{"server"},
			profile: ".config/k3d/kubeconfig-*.yaml", prefix: "kubeconfig-", suffix: ".yaml",
			apiPort: 6443,
		},
		{
			name: "kind", filter: "io.x-k8s.kind.cluster", cluster: "io.x-k8s.kind.cluster", role: "io.x-k8s.kind.role", servers: []string{"control-plane"},
			profile: ".kind/*", apiPort: 6443,
		},
		{
			name: "minikube", filter: "created_by.minikube.sigs.k8s.io=true", cluster: "name.minikube.sigs.k8s.io", role: "role.minikube.sigs.k8s.io",
			profile: ".minikube/profiles/*", apiPort: 8443,
		},
	}
}

const (
	// maxContainers and maxContainerList bound the engine's list of containers: about 2 KiB each.
	maxContainers    = 256
	maxContainerList = 4 << 20
	// maxHomes bounds the homes that are looked into.
	maxHomes = 32
)

// engineClusters finds the clusters whose nodes are containers of the Docker engine, and what they left in homes.
func engineClusters(ctx context.Context, s *System) ([]Cluster, error) {
	containers, known, err := readContainerNodes(ctx, s)
	var all []Cluster
	for _, k := range engineKinds() {
		all = append(all, k.find(s, containers, known)...)
	}
	return all, err
}

// readContainerNodes returns the containers of clusters. The second result says whether the engine told of them.
func readContainerNodes(ctx context.Context, s *System) ([]Container, bool, error) {
	if !s.Live() {
		c := s.Snapshot().Containers
		return c, c != nil, nil
	}
	names, err := processNames(ctx, s)
	if err != nil {
		return nil, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	for _, socket := range dockerSockets(os.Getenv, os.Geteuid()) {
		if !s.has(socket) || wouldStart(s, socket, names) {
			continue
		}
		all := []Container{}
		for _, k := range engineKinds() {
			b, err := dockerGet(ctx, socket, "/containers/json?all=1&filters="+url.QueryEscape(`{"label":["`+k.filter+`"]}`), maxContainerList)
			if errors.Is(err, os.ErrPermission) {
				return nil, false, nil // the probe of the engine tells of it
			}
			if err != nil {
				return nil, false, err
			}
			nodes, err := ParseContainers(b)
			if err != nil {
				return nil, false, err
			}
			all = append(all, nodes...)
		}
		s.record.engine(all)
		return all, true, nil
	}
	return nil, false, nil
}

// ParseContainers reads the answer to GET /containers/json.
func ParseContainers(b []byte) ([]Container, error) {
	var list []struct {
		Names  []string
		Labels map[string]string
		State  string
		Ports  []struct {
			PrivatePort, PublicPort int
			Type                    string
		}
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("cannot read the containers of the Docker engine: %w", err)
	}
	all := []Container{}
	for _, c := range list[:min(len(list), maxContainers)] {
		n := Container{Labels: map[string]string{}, State: c.State}
		if len(c.Names) > 0 {
			n.Name = strings.TrimPrefix(c.Names[0], "/")
		}
		for _, k := range engineKinds() {
			for _, label := range []string{k.cluster, k.role} {
				if v, ok := c.Labels[label]; ok {
					n.Labels[label] = v
				}
			}
			if _, is := c.Labels[k.cluster]; !is {
				continue
			}
			for _, p := range c.Ports {
				if p.Type == "tcp" && p.PrivatePort == k.apiPort && p.PublicPort > 0 && p.PublicPort < 1<<16 {
					n.APIPort = p.PublicPort
				}
			}
		}
		all = append(all, n)
	}
	return all, nil
}

// find groups the containers by cluster, and adds the clusters of which only settings in a home are left.
func (k engineKind) find(s *System, containers []Container, known bool) []Cluster {
	byName := map[string]*Cluster{}
	changed, seen := readLedger(s)
	ours := func(cluster string) Known[bool] {
		if !seen {
			return Known[bool]{}
		}
		return Is(changed[ContainerCluster(k.name, cluster)])
	}
	for _, n := range containers {
		name := n.Labels[k.cluster]
		if !ValidNodeName(name) {
			continue
		}
		c := byName[name]
		if c == nil {
			c = &Cluster{Name: k.name, Cluster: name, State: Unfinished, Role: "server", Ours: ours(name)}
			if c.Ours.Value && unitFile(s, ClusterUnit) != "" {
				c.Unit = ClusterUnit
			}
			byName[name] = c
		}
		if k.servers == nil || slices.Contains(k.servers, n.Labels[k.role]) {
			switch n.State {
			case "running":
				c.State = Running
			case "created", "dead", "removing": // it has never run, or nothing will run it
			default:
				if c.State == Unfinished {
					c.State = Stopped
				}
			}
		}
		if n.APIPort != 0 {
			c.Port = n.APIPort
		}
		if len(c.Evidence) < maxRemains {
			c.Evidence = append(c.Evidence, "container "+n.Name)
		}
	}
	for _, p := range k.profiles(s) {
		name := strings.TrimSuffix(strings.TrimPrefix(path.Base(p), k.prefix), k.suffix)
		if !ValidNodeName(name) {
			continue
		}
		c := byName[name]
		if c == nil {
			c = &Cluster{Name: k.name, Cluster: name, State: Debris, Role: "server", Ours: Is(false)} // ours leaves nothing in a home
			if !known && mayHaveEngine(s) {                                                           // and it may hold the rest
				c.State = Stopped
			}
			byName[name] = c
		}
		if k.name == "minikube" && c.State == Debris && !inEngine(s, p) {
			c.State = Doubt
		}
		if k.suffix == ".yaml" && c.State != Debris && ownHome(s, p) {
			c.Kubeconfig = p
		}
		c.Evidence = append(c.Evidence, p)
	}
	var all []Cluster
	for _, c := range byName {
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b Cluster) int { return cmp.Compare(a.Cluster, b.Cluster) })
	return all
}

// mayHaveEngine tells whether an engine is installed, or whether that is unknown.
func mayHaveEngine(s *System) bool {
	for _, k := range runtimeKinds() {
		if r, ok := k.find(s, nil); ok && r.State != Debris && (k.name == "docker" || k.name == "podman") {
			return true
		}
	}
	return s.has(dockerSocket) || s.has(varDockerSocket) || !lacks(s, "docker")
}

// inEngine tells whether a minikube profile keeps its node in a container rather than in a virtual machine.
func inEngine(s *System, profile string) bool {
	b, err := s.ReadFile(profile + "/config.json")
	return err == nil && ParseMinikubeDriver(b) != ""
}

// ParseMinikubeDriver returns the engine that a profile names, "docker" or "podman", or "".
func ParseMinikubeDriver(b []byte) string {
	var v struct{ Driver string }
	if json.Unmarshal(b, &v) != nil || v.Driver != "docker" && v.Driver != "podman" {
		return ""
	}
	return v.Driver
}

// profiles returns the paths of the clusters that are known in some home.
func (k engineKind) profiles(s *System) []string {
	var all []string
	for _, home := range homes(s) {
		for _, p := range s.matching(path.Join(home, k.profile)) {
			if len(all) < maxContainers && s.has(p) {
				all = append(all, p)
			}
		}
	}
	return all
}

// ownHome tells whether a file lies where the kubeconfig of whoever runs us may be. Root follows none of another user's: it would lead
// where they want, with what of root's files it names.
func ownHome(s *System, file string) bool {
	return slices.ContainsFunc(kubeconfigs(s), func(own string) bool {
		return strings.HasPrefix(file, strings.TrimSuffix(own, kubeconfigPath)+"/")
	})
}

// homes returns root's home and those of users.
func homes(s *System) []string {
	all := slices.Concat([]string{"/root"}, s.matching("/home/*"), s.matching("/Users/*"))
	return all[:min(len(all), maxHomes)]
}
