// Package cluster is the agent's way to a Kubernetes API server: it connects by a kubeconfig, waits until a cluster is of
// use, and gives the group of the gateway's administrators its rights. It uses client-go's REST and dynamic clients only:
// the typed clientset would more than double the agent's binary and its memory.
package cluster

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Client reaches one API server with the rights of one kubeconfig.
type Client struct {
	Base    *url.URL          // of the API server
	HTTP    *http.Client      // authenticated; HTTP/2 where the server offers it
	Upgrade http.RoundTripper // authenticated; HTTP/1.1 only, which exec, attach and port-forward need
	Dynamic dynamic.Interface

	config *rest.Config // nil: no port can be forwarded
}

// requestTimeout bounds the requests that the agent makes for itself. Watches and proxied requests do not use it.
const requestTimeout = 15 * time.Second

// Connect builds a client from the current context of a kubeconfig. It does not contact the server.
func Connect(kubeconfig string) (*Client, error) {
	raw, err := os.ReadFile(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("cannot read the kubeconfig: %w", err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(raw)
	if err != nil {
		return nil, fmt.Errorf("cannot use the kubeconfig %s: %w", kubeconfig, err)
	}
	if config.ExecProvider != nil || config.AuthProvider != nil {
		return nil, fmt.Errorf("cannot use the kubeconfig %s: it runs a program to authenticate, which a root service must not", kubeconfig)
	}
	return connect(config)
}

func connect(config *rest.Config) (*Client, error) {
	config.QPS, config.Burst = 50, 100 // requests per second of the agent itself; proxied requests are not counted
	config.UserAgent = wire.FieldManager
	config.DisableCompression = true // the way is short: it would only cost time
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("cannot read the server address: %w", err)
	}
	plain, err := rest.TransportFor(config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a transport: %w", err)
	}
	http1 := rest.CopyConfig(config)
	http1.NextProtos = []string{"http/1.1"}
	upgrade, err := rest.TransportFor(http1)
	if err != nil {
		return nil, fmt.Errorf("cannot make a transport for upgrades: %w", err)
	}
	short := rest.CopyConfig(config)
	short.Timeout = requestTimeout
	objects, err := dynamic.NewForConfig(short)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client: %w", err)
	}
	return &Client{Base: base, HTTP: &http.Client{Transport: plain}, Upgrade: upgrade, Dynamic: objects, config: http1}, nil
}

// Source gives the client of a kubeconfig that may appear, change or vanish while the agent runs. The zero value with a
// Path is ready for use; it may be used concurrently.
type Source struct {
	Path  string
	Fixed *Client // if not nil, used instead of Path

	mu      sync.Mutex
	client  *Client
	modTime time.Time
	size    int64
}

// Client returns the client of the kubeconfig as it is now. While the file is unchanged it returns the same client.
func (s *Source) Client() (*Client, error) {
	if s.Fixed != nil {
		return s.Fixed, nil
	}
	info, err := os.Stat(s.Path)
	if err != nil {
		return nil, fmt.Errorf("cannot find the kubeconfig: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil && info.ModTime().Equal(s.modTime) && info.Size() == s.size {
		return s.client, nil
	}
	client, err := Connect(s.Path)
	if err != nil {
		return nil, err
	}
	s.client, s.modTime, s.size = client, info.ModTime(), info.Size()
	return client, nil
}
