// Package config reads the settings of the agent: the file /etc/pipeops-agent/config.yaml, over it the environment, over
// that the flags. Only cmd imports it; every other package gets its own small set of options.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/pipeopshq/pipeops-agent/internal/proxy"
)

// The places of the agent on a host.
const (
	Path     = "/etc/pipeops-agent/config.yaml"
	StateDir = "/var/lib/pipeops-agent"
	Socket   = "/run/pipeops-agent/agent.sock"
)

// Config is the content of the file. The join token is never kept; the password of a proxy may be.
type Config struct {
	Gateway     string   `json:"gateway,omitempty"`      // host:port
	Cluster     string   `json:"cluster,omitempty"`      // name at the gateway; a DNS label
	Distro      string   `json:"distro,omitempty"`       // auto, k3s, existing, ...
	Kubeconfig  string   `json:"kubeconfig,omitempty"`   // of the cluster; set by install
	Context     string   `json:"context,omitempty"`      // of that kubeconfig; "" is its current one
	TokenLife   string   `json:"token_life,omitempty"`   // how long a token of the agent's account is used, such as 24h
	Audit       string   `json:"audit,omitempty"`        // on, required (what cannot be recorded is not done) or off; "" is on
	Metrics     string   `json:"metrics,omitempty"`      // loopback address, host:port, at which metrics can be read; "" is none
	Mirror      string   `json:"mirror,omitempty"`       // base URLs, separated by commas, that replace the origins of downloads; "origin" stands for those
	Bundle      string   `json:"bundle,omitempty"`       // file that an install without internet takes everything from
	Trust       string   `json:"trust,omitempty"`        // file with the keys of who signs what is installed; "" means the built-in ones
	K3sVersion  string   `json:"k3s_version,omitempty"`  // such as v1.33.2+k3s1
	ClusterInit *bool    `json:"cluster_init,omitempty"` // whether k3s keeps its state in etcd; nil: as it does already, at first in SQLite
	DataDir     string   `json:"data_dir,omitempty"`     // where a new cluster keeps its data; "" is its own place
	Disable     []string `json:"disable,omitzero"`       // parts of k3s that are not wanted; an empty list is kept: nil means the default
	TLSSAN      []string `json:"tls_san,omitempty"`      // further names of the Kubernetes API server
	Consent     []string `json:"consent,omitzero"`       // costs of changes that the user agrees to: package, reboot; empty: to none, do not ask
	Adopt       *bool    `json:"adopt,omitempty"`        // whether a cluster that is already here may be taken over; nil means yes
	Nodes       int      `json:"nodes,omitempty"`        // of a cluster in containers: how many serve the API; 0 is one
	Workers     int      `json:"workers,omitempty"`      // likewise: how many further ones
	APIPort     int      `json:"api_port,omitempty"`     // likewise: of the API on this machine; 0 is one that is free, and stays
	Join        *bool    `json:"join,omitempty"`         // whether machines may join the cluster by the gateway; nil means yes

	// MinikubeForce lets root run minikube, with --force, in place of a user that is made for it.
	MinikubeForce bool `json:"minikube_force,omitempty"`
	// MinikubeDriver is that of minikube: "docker" or "none"; "" is the first, or that of the cluster that is there.
	MinikubeDriver string `json:"minikube_driver,omitempty"`

	Proxy Proxy `json:"proxy,omitzero"` // through what others are reached
}

// Proxy is through what others are reached. Its addresses may hold passwords.
type Proxy struct {
	HTTP       string `json:"http,omitempty"`       // http://[user:password@]host:port
	HTTPS      string `json:"https,omitempty"`      // likewise
	NoProxy    string `json:"no_proxy,omitempty"`   // names, .domains, addresses and networks, separated by commas; what belongs to the cluster is added
	Containerd *Proxy `json:"containerd,omitempty"` // of the images, if it is another one
	Found      string `json:"found,omitempty"`      // where install has found it, if it was given in neither file nor environment
}

// maxFile bounds what is read; a real file has a few hundred bytes.
const maxFile = 1 << 20

// Load reads the file. A file that does not exist is an empty one.
func Load(path string) (Config, error) {
	var c Config
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("cannot read the configuration: %w", err)
	}
	if info.Size() > maxFile {
		return c, fmt.Errorf("cannot read the configuration: %s has %d bytes, at most %d are allowed", path, info.Size(), maxFile)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("cannot read the configuration: %w", err)
	}
	if c, err = Decode(content); err != nil {
		return c, fmt.Errorf("cannot read the configuration %s: %w", path, err)
	}
	return c, nil
}

// Decode reads the content of the file. Unknown keys are errors: they are typing mistakes.
func Decode(content []byte) (Config, error) {
	var c Config
	if len(content) > maxFile {
		return c, fmt.Errorf("%d bytes, at most %d are allowed", len(content), maxFile)
	}
	err := yaml.UnmarshalStrict(content, &c)
	return c, err
}

// Environ lays the environment over c: PIPEOPS_GATEWAY, PIPEOPS_CLUSTER, PIPEOPS_DISTRO, PIPEOPS_MIRROR,
// PIPEOPS_BUNDLE, PIPEOPS_TRUST, PIPEOPS_K3S_VERSION, PIPEOPS_DATA_DIR, PIPEOPS_KUBECONFIG, PIPEOPS_CONTEXT, and separated by commas
// PIPEOPS_DISABLE, PIPEOPS_TLS_SAN and PIPEOPS_CONSENT; and the numbers PIPEOPS_NODES, PIPEOPS_WORKERS and PIPEOPS_API_PORT,
// of which one that is no number is -1, which no cluster can have. PIPEOPS_CLUSTER_INIT is true or false. An empty variable is as none.
// Proxies are those of PIPEOPS_PROXY (for http and https) and PIPEOPS_NO_PROXY, or the usual HTTP_PROXY, HTTPS_PROXY,
// ALL_PROXY and NO_PROXY; for images CONTAINERD_HTTP_PROXY and so on, as k3s has them.
func (c Config) Environ(getenv func(string) string) Config {
	for name, field := range map[string]*string{
		"PIPEOPS_GATEWAY":     &c.Gateway,
		"PIPEOPS_CLUSTER":     &c.Cluster,
		"PIPEOPS_DISTRO":      &c.Distro,
		"PIPEOPS_MIRROR":      &c.Mirror,
		"PIPEOPS_K3S_VERSION": &c.K3sVersion,
		"PIPEOPS_BUNDLE":      &c.Bundle,
		"PIPEOPS_TRUST":       &c.Trust,
		"PIPEOPS_DATA_DIR":    &c.DataDir,
		"PIPEOPS_KUBECONFIG":  &c.Kubeconfig,
		"PIPEOPS_CONTEXT":     &c.Context,
	} {
		if value := getenv(name); value != "" {
			*field = value
		}
	}
	for name, field := range map[string]*int{
		"PIPEOPS_NODES":    &c.Nodes,
		"PIPEOPS_WORKERS":  &c.Workers,
		"PIPEOPS_API_PORT": &c.APIPort,
	} {
		if value := getenv(name); value != "" {
			n, err := strconv.Atoi(value)
			if err != nil {
				n = -1
			}
			*field = n
		}
	}
	if value, err := strconv.ParseBool(getenv("PIPEOPS_CLUSTER_INIT")); err == nil {
		c.ClusterInit = &value
	}
	c.Proxy = c.Proxy.environ(getenv)
	for name, field := range map[string]*[]string{
		"PIPEOPS_DISABLE": &c.Disable,
		"PIPEOPS_TLS_SAN": &c.TLSSAN,
		"PIPEOPS_CONSENT": &c.Consent,
	} {
		if value := getenv(name); value != "" {
			*field = strings.Split(value, ",")
		}
	}
	return c
}

// environ lays the proxies of the environment over p. One set of them counts as a whole.
func (p Proxy) environ(getenv func(string) string) Proxy {
	usual := proxy.FromEnvironment(getenv)
	if own := getenv("PIPEOPS_PROXY"); own != "" {
		usual.HTTP, usual.HTTPS = own, own
	}
	if usual.Set() {
		p = Proxy{HTTP: usual.HTTP, HTTPS: usual.HTTPS, NoProxy: usual.NoProxy, Containerd: p.Containerd}
	}
	if own := getenv("PIPEOPS_NO_PROXY"); own != "" {
		p.NoProxy = own
	}
	images := proxy.FromEnvironment(func(name string) string { return getenv("CONTAINERD_" + name) })
	if images.Set() || images.NoProxy != "" {
		p.Containerd = &Proxy{HTTP: images.HTTP, HTTPS: images.HTTPS, NoProxy: images.NoProxy}
	}
	return p
}

// Encode returns the content of the file for c.
func (c Config) Encode() ([]byte, error) {
	content, err := yaml.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the configuration: %w", err)
	}
	return append([]byte("# Written by pipeops-agent install; read again at every start of the agent.\n"), content...), nil
}
