package host

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// kubeconfigPath is where kubectl looks, below a home.
const kubeconfigPath = "/.kube/config"

// maxKubeconfig bounds the file: 50 clusters with their certificates.
const maxKubeconfig = 256 << 10

// target is where the current context of a kubeconfig leads. Nothing else of the file is kept.
type target struct {
	context string
	host    string
	port    int
}

// maxContexts bounds how many contexts of a file are looked at.
const maxContexts = 100

// ParseKubeconfig returns where the current context leads; false if there is none.
func ParseKubeconfig(b []byte) (target, bool) {
	all, current := parseContexts(b)
	i := slices.IndexFunc(all, func(t target) bool { return t.context == current })
	if i < 0 || current == "" {
		return target{}, false
	}
	return all[i], true
}

// parseContexts returns where the contexts lead, and the name of the current one.
func parseContexts(b []byte) (all []target, current string) {
	var v struct {
		Current  string `json:"current-context"`
		Contexts []struct {
			Name    string `json:"name"`
			Context struct {
				Cluster string `json:"cluster"`
			} `json:"context"`
		} `json:"contexts"`
		Clusters []struct {
			Name    string `json:"name"`
			Cluster struct {
				Server string `json:"server"`
			} `json:"cluster"`
		} `json:"clusters"`
	}
	if len(b) > maxKubeconfig || yaml.Unmarshal(b, &v) != nil {
		return nil, ""
	}
	for _, c := range v.Contexts {
		if len(all) == maxContexts && c.Name != v.Current {
			continue
		}
		for _, k := range v.Clusters {
			u, err := url.Parse(k.Cluster.Server)
			if k.Name != c.Context.Cluster || err != nil || u.Scheme != "https" || u.Hostname() == "" {
				continue
			}
			t := target{context: c.Name, host: strings.ToLower(u.Hostname()), port: 443}
			if p, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
				t.port = int(p)
			}
			all = append(all, t)
			break
		}
	}
	return all, v.Current
}

// kind says what kind of machine the server is on: "local", "private", the name of a service that runs clusters, or "public".
func (t target) kind() string {
	if a, err := netip.ParseAddr(t.host); err == nil {
		switch {
		case a.IsLoopback() || a.IsUnspecified():
			return "local"
		case a.IsPrivate() || a.IsLinkLocalUnicast() || shared().Contains(a):
			return "private"
		}
		if strings.HasPrefix(t.context, "gke_") { // its servers have no names
			return "gke"
		}
		return "public"
	}
	for _, service := range []struct{ suffix, kind string }{
		{".eks.amazonaws.com", "eks"}, {".eks.amazonaws.com.cn", "eks"}, {".gke.goog", "gke"}, {".azmk8s.io", "aks"}, {".k8s.ondigitalocean.com", "digitalocean"},
		{".linodelke.net", "linode"}, {".vultr-k8s.com", "vultr"}, {".k8s.scw.cloud", "scaleway"}, {".containers.cloud.ibm.com", "ibm"},
	} {
		if strings.HasSuffix(t.host, service.suffix) {
			return service.kind
		}
	}
	switch {
	case t.host == "localhost" || t.host == "kubernetes.docker.internal" || t.host == "host.docker.internal":
		return "local"
	case !strings.Contains(t.host, ".") || strings.HasSuffix(t.host, ".local") || strings.HasSuffix(t.host, ".internal") || strings.HasSuffix(t.host, ".lan"):
		return "private"
	}
	return "public"
}

// kubeconfigs lists where the kubeconfig of whoever runs us may be: of root, and without root's rights also of users.
func kubeconfigs(s *System) []string {
	all := []string{"/root" + kubeconfigPath}
	uid := s.Snapshot().UID
	if s.Live() {
		uid = Is(os.Geteuid())
		if home := os.Getenv("HOME"); uid.Value != 0 && path.IsAbs(home) {
			return []string{path.Clean(home) + kubeconfigPath}
		}
	}
	if uid.Value != 0 {
		for _, home := range homes(s) {
			all = append(all, home+kubeconfigPath)
		}
	}
	return all
}

// kubeconfigCluster returns the cluster that a kubeconfig leads to, unless it is one of those that were found here. A file
// that leads to this machine, where nothing listens, is what an earlier cluster left: that one is gone.
func kubeconfigCluster(ctx context.Context, s *System, found []Cluster) (Cluster, bool) {
	var file string
	var t target
	for _, file = range kubeconfigs(s) {
		b, err := s.ReadFile(file)
		if err != nil {
			continue
		}
		var ok bool
		if t, ok = ParseKubeconfig(b); ok {
			break
		}
	}
	if t.host == "" {
		return Cluster{}, false
	}
	c := Cluster{Name: "kubeconfig", State: Remote, Ours: Is(false), Kubeconfig: file, Server: t.kind(), Evidence: []string{file}}
	for _, k := range found {
		if k.State == Debris {
			continue
		}
		if t.names(k) || c.Server == "local" || k.Role == "agent" || t.here(s) { // a worker's kubeconfig leads to its own cluster
			return Cluster{}, false
		}
	}
	if c.Server == "local" || t.here(s) {
		c.State, c.Server, c.Port = Running, "local", t.port
		if taken, ok := portTaken(s, t.port).Get(); !taken {
			c.State = Gone
			if !ok {
				return Cluster{}, false
			}
		}
	}
	return c, ctx.Err() == nil
}

// withKubeconfigs gives the clusters in the engine the kubeconfig that has a context of theirs: kind, k3d and minikube put it
// into the user's own, beside others.
func withKubeconfigs(s *System, clusters []Cluster) []Cluster {
	for _, file := range kubeconfigs(s) {
		b, err := s.ReadFile(file)
		if err != nil {
			continue
		}
		targets, current := parseContexts(b)
		for i, c := range clusters {
			for _, t := range targets {
				if c.Kubeconfig != "" || c.State == Debris || !t.names(c) {
					continue
				}
				if c.Kubeconfig = file; t.context != current {
					c.Context = t.context
				}
			}
			clusters[i] = c
		}
	}
	return clusters
}

// names tells whether the context has the name that such a cluster gives to its own: "kind-NAME", "k3d-NAME", "minikube".
func (t target) names(c Cluster) bool {
	return c.Cluster != "" && slices.Contains([]string{c.Cluster, c.Name + "-" + c.Cluster}, t.context)
}

// here tells whether the server is on this machine.
func (t target) here(s *System) bool {
	if node := s.Snapshot().Addresses.Node; node != "" && node == t.host {
		return true
	}
	if t.host == strings.ToLower(s.line("/proc/sys/kernel/hostname")) {
		return true
	}
	v4, v6, _ := ownAddresses(s)
	own := slices.Concat(v4, v6)
	return slices.ContainsFunc(own, func(o ownAddress) bool { return o.String() == t.host })
}

// portTaken tells whether somebody listens on a TCP port.
func portTaken(s *System, port int) Known[bool] {
	if l := s.Snapshot().Listening; l != nil {
		return Is(slices.ContainsFunc(l, func(l Listener) bool { return l.Proto == "tcp" && l.Port == port }))
	}
	sockets, err := readSockets(s)
	if err != nil {
		return Known[bool]{}
	}
	return Is(slices.ContainsFunc(sockets, func(k socket) bool { return k.proto == "tcp" && k.port == port }))
}

// redactKubeconfig keeps what the probe reads of a kubeconfig: no credentials, no names of accounts.
func redactKubeconfig(b []byte) []byte {
	t, ok := ParseKubeconfig(b)
	if !ok {
		return nil
	}
	context := "context"
	for _, k := range engineKinds() {
		if t.context == "minikube" || strings.HasPrefix(t.context, k.name+"-") && ValidNodeName(t.context) {
			context = t.context
		}
	}
	if t.kind() == "gke" {
		context = "gke_redacted"
	}
	host := t.host
	if a, err := netip.ParseAddr(host); err == nil {
		host = documented(a).String()
	} else if t.kind() != "local" {
		host = "redacted" + path.Ext(host)
		for _, suffix := range []string{".eks.amazonaws.com", ".gke.goog", ".azmk8s.io"} {
			if strings.HasSuffix(t.host, suffix) {
				host = "redacted" + suffix
			}
		}
	}
	return fmt.Appendf(nil, "current-context: %s\ncontexts:\n- name: %s\n  context: {cluster: cluster}\nclusters:\n- name: cluster\n  cluster: {server: %q}\n",
		context, context, "https://"+net.JoinHostPort(host, strconv.Itoa(t.port)))
}
