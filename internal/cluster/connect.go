// Package cluster is the agent's way to a Kubernetes API server: it connects by a kubeconfig, waits until a cluster is of
// use, and gives the group of the gateway's administrators its rights. It uses client-go's REST and dynamic clients only:
// the typed clientset would more than double the agent's binary and its memory.
package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Client reaches one API server with the rights of one kubeconfig.
type Client struct {
	Base    *url.URL          // of the API server
	HTTP    *http.Client      // authenticated; HTTP/2 where the server offers it
	Upgrade http.RoundTripper // authenticated; HTTP/1.1 only, which exec, attach and port-forward need
	Dynamic dynamic.Interface

	cluster clientcmdapi.Cluster // where it leads, as the kubeconfig has it
	config  *rest.Config         // nil: no port can be forwarded
}

// requestTimeout bounds the requests that the agent makes for itself. Watches and proxied requests do not use it.
const requestTimeout = 15 * time.Second

// maxKubeconfig bounds the file, in bytes: some 50 clusters with their certificates.
const maxKubeconfig = 256 << 10

// maxNamed is how many contexts an error names.
const maxNamed = 10

// Connect builds a client from the current context of a kubeconfig. It does not contact the server. KUBECONFIG_INVALID and
// KUBECONFIG_EXEC tell why it cannot be used.
func Connect(kubeconfig string) (*Client, error) { return ConnectContext(kubeconfig, "") }

// ConnectContext is Connect with a context of that name; "" is the current one.
func ConnectContext(kubeconfig, context string) (*Client, error) {
	raw, err := atomicfile.Read(kubeconfig, maxKubeconfig)
	if err != nil {
		return nil, fmt.Errorf("cannot read the kubeconfig: %w", err)
	}
	bad := func(err error) (*Client, error) {
		return nil, reason.New(reason.KubeconfigInvalid, kubeconfig, err)
	}
	file, err := clientcmd.Load(raw)
	if err != nil {
		return bad(errors.New("it is no kubeconfig")) // the text of the error may hold a part of it
	}
	for _, c := range file.Clusters { // relative paths are relative to the file
		c.LocationOfOrigin = kubeconfig
	}
	for _, u := range file.AuthInfos {
		u.LocationOfOrigin = kubeconfig
	}
	if err := clientcmd.ResolveLocalPaths(file); err != nil {
		return bad(err)
	}
	context = cmp.Or(context, file.CurrentContext)
	leads, err := contextOf(file, context)
	if err != nil {
		return bad(err)
	}
	config, err := clientcmd.NewNonInteractiveClientConfig(*file, context, &clientcmd.ConfigOverrides{}, nil).ClientConfig()
	if err != nil {
		return bad(err)
	}
	if config.ExecProvider != nil {
		return nil, reason.Newf(reason.KubeconfigExec, "%s runs %s to authenticate", kubeconfig, config.ExecProvider.Command)
	}
	if config.AuthProvider != nil {
		return nil, reason.Newf(reason.KubeconfigExec, "%s needs the plugin %s to authenticate", kubeconfig, config.AuthProvider.Name)
	}
	client, err := connect(config)
	if err != nil {
		return bad(err)
	}
	client.cluster = leads
	return client, nil
}

// names lists names for people, at most maxNamed.
func names(all iter.Seq[string]) string {
	sorted := slices.Sorted(all)
	switch {
	case len(sorted) == 0:
		return "none"
	case len(sorted) > maxNamed:
		return fmt.Sprintf("%s and %d more", strings.Join(sorted[:maxNamed], ", "), len(sorted)-maxNamed)
	}
	return strings.Join(sorted, ", ")
}

func connect(config *rest.Config) (*Client, error) {
	config.QPS, config.Burst = 50, 100 // requests per second of the agent itself; proxied requests are not counted
	config.UserAgent = wire.FieldManager
	config.DisableCompression = true // the way is short: it would only cost time
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("cannot read the server address: %w", err)
	}
	plain, err := upstreamTransport(config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a transport: %w", err)
	}
	http1 := rest.CopyConfig(config)
	http1.NextProtos = []string{"http/1.1"}
	upgrade, err := upstreamTransport(http1)
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
	Path    string
	Context string  // of the kubeconfig; "" is its current one
	Fixed   *Client // if not nil, used instead of Path

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
	client, err := ConnectContext(s.Path, s.Context)
	if err != nil {
		return nil, err
	}
	s.client, s.modTime, s.size = client, info.ModTime(), info.Size()
	return client, nil
}
