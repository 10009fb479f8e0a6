package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/nodes"
)

// Nobody asks the agent of a worker for the Kubernetes API. What can be seen there is whether its k3s reaches a server, whether its
// kubelet is well, and how the cluster sees its own node.

const (
	// balancer is where k3s on a worker passes requests on to the servers (--lb-server-port).
	balancer = "https://127.0.0.1:6444/cacerts"
	// kubelet is where the kubelet says how it is (--healthz-port).
	kubelet = "http://127.0.0.1:10248/healthz"
	// askTimeout bounds one look at either.
	askTimeout = 5 * time.Second
	maxCA      = 64 << 10
)

// workerWatch keeps the conditions of a worker.
type workerWatch struct {
	health  *health.Tracker
	dataDir string // of k3s; "" means its own place
	// balancer and kubelet are those above, but in tests.
	balancer, kubelet string
	// node is how the cluster sees it; nil means that nobody asks.
	node *workerNode
}

// run looks until ctx ends.
func (w *workerWatch) run(ctx context.Context) error {
	for {
		wait := watchIdle
		if !w.look(ctx) {
			wait = watchBusy
		}
		if err := pause(ctx, wait, nil); err != nil {
			return err
		}
	}
}

func (w *workerWatch) look(ctx context.Context) bool {
	reached, well := w.reach(ctx), w.ask(ctx, http.DefaultTransport, w.kubelet)
	if ctx.Err() != nil {
		return false
	}
	if reached == nil {
		w.health.Set(health.ClusterReachable, health.True, "Reachable", "through the load balancer of k3s on this machine")
	} else {
		w.health.Set(health.ClusterReachable, health.False, "Unreachable", reached.Error())
	}
	if well == nil {
		w.health.Set(health.NodesReady, health.True, "Ready", "the kubelet of this node is well")
	} else {
		w.health.Set(health.NodesReady, health.False, "NotReady", "the kubelet of this node: "+well.Error())
	}
	if reached != nil || well != nil {
		return false
	}
	return w.node == nil || w.node.look(ctx)
}

// reach asks a server for its CA, by the CA that this node has.
func (w *workerWatch) reach(ctx context.Context) error {
	dir := w.dataDir
	if dir == "" {
		dir = nodes.DefaultDataDir
	}
	raw, err := atomicfile.Read(filepath.Join(dir, "agent", "server-ca.crt"), maxCA)
	if err != nil {
		return fmt.Errorf("k3s has not reached a server yet: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return errors.New("the CA that k3s keeps of its servers holds no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	return w.ask(ctx, transport, w.balancer)
}

func (w *workerWatch) ask(ctx context.Context, transport http.RoundTripper, address string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	r.Close = true
	response, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, maxCA)); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", address, response.Status)
	}
	return nil
}
