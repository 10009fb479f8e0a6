package forward

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// maxKubeconfig bounds a file, in bytes: some 50 clusters with their certificates. maxToken bounds the file of a token.
const (
	maxKubeconfig = 256 << 10
	maxToken      = 4 << 10
)

// kubeconfig is as much of one as leads to a gateway.
type kubeconfig struct {
	Current  string `json:"current-context"`
	Contexts []struct {
		Name    string `json:"name"`
		Context struct {
			Cluster string `json:"cluster"`
			User    string `json:"user"`
		} `json:"context"`
	} `json:"contexts"`
	Clusters []struct {
		Name    string `json:"name"`
		Cluster struct {
			Server string `json:"server"`
			CA     string `json:"certificate-authority-data"`
			CAFile string `json:"certificate-authority"`
		} `json:"cluster"`
	} `json:"clusters"`
	Users []struct {
		Name string `json:"name"`
		User struct {
			Token     string `json:"token"`
			TokenFile string `json:"tokenFile"`
		} `json:"user"`
	} `json:"users"`
}

// Kubeconfig returns how a kubeconfig, as pipeops-gateway kubeconfig prints it, leads to a cluster: by its current context, if that is
// the cluster's, else by the first one that is. The error is KUBECONFIG_INVALID and has no part of a secret in it.
func Kubeconfig(path, cluster string) (Access, error) {
	raw, err := atomicfile.Read(path, maxKubeconfig)
	if err != nil {
		return Access{}, reason.New(reason.KubeconfigInvalid, path, err)
	}
	var file kubeconfig
	if err := yaml.Unmarshal(raw, &file); err != nil {
		return Access{}, reason.Newf(reason.KubeconfigInvalid, "%s: it is no kubeconfig", path) // the error's text may hold a part of it
	}
	beside := func(name string) string {
		if filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(filepath.Dir(path), name)
	}
	var firstErr error
	for _, current := range []bool{true, false} {
		for _, c := range file.Contexts {
			if (c.Name == file.Current) != current {
				continue
			}
			for _, k := range file.Clusters {
				gateway, ok := gatewayOf(k.Cluster.Server, cluster)
				if k.Name != c.Context.Cluster || !ok {
					continue
				}
				a := Access{Gateway: gateway, Cluster: cluster}
				if a.CA, err = base64.StdEncoding.DecodeString(k.Cluster.CA); k.Cluster.CA == "" && k.Cluster.CAFile != "" {
					a.CA, err = atomicfile.Read(beside(k.Cluster.CAFile), maxKubeconfig)
				}
				for _, u := range file.Users {
					if u.Name != c.Context.User || err != nil {
						continue
					}
					if a.Token = u.User.Token; a.Token == "" && u.User.TokenFile != "" {
						var token []byte
						token, err = atomicfile.Read(beside(u.User.TokenFile), maxToken)
						a.Token = strings.TrimSpace(string(token))
					}
				}
				switch {
				case err != nil:
					firstErr = reason.New(reason.KubeconfigInvalid, path, err)
				case a.Token == "" || strings.ContainsAny(a.Token, "\r\n"):
					firstErr = reason.Newf(reason.KubeconfigInvalid, "%s: the user %s has no token", path, c.Context.User)
				default:
					return a, nil
				}
			}
		}
	}
	if firstErr == nil {
		firstErr = reason.Newf(reason.KubeconfigInvalid, "%s has no context that leads to the cluster %s through a gateway", path, cluster).
			WithFix("make one: pipeops-gateway kubeconfig " + cluster)
	}
	return Access{}, firstErr
}

// gatewayOf returns the address of the gateway of a server in a kubeconfig, if that is this cluster through a gateway.
func gatewayOf(server, cluster string) (string, bool) {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "https" || strings.TrimSuffix(u.Path, "/") != wire.PathClusters+"/"+cluster || u.Hostname() == "" {
		return "", false
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port), true
}

// FromEnvironment returns the first file of KUBECONFIG that leads to a cluster; ok is false where the variable names none that does.
func FromEnvironment(cluster string) (a Access, ok bool, err error) {
	var last error
	for _, path := range filepath.SplitList(os.Getenv("KUBECONFIG")) {
		if path == "" {
			continue
		}
		if a, err := Kubeconfig(path, cluster); err == nil {
			return a, true, nil
		} else if last == nil {
			last = err
		}
	}
	return Access{}, false, last
}

// String shows an access without its token.
func (a Access) String() string { return fmt.Sprintf("%s through %s", a.Cluster, a.Gateway) }
