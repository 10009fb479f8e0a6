package distro

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"

	"sigs.k8s.io/yaml"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/engine"
)

// readdress lets the kubeconfig lead to where the engine publishes the API now: after a start that may be another port.
func (n *nodeCluster) readdress(ctx context.Context, c *engine.Client, nodes []engine.Container) error {
	now, err := n.published(ctx, c, nodes)
	if err != nil || now == "" { // not yet
		return err
	}
	file := n.path(n.nodes.kubeconfigFile())
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("cannot read the kubeconfig: %w", err)
	}
	changed, err := readdressed(text, now)
	if err != nil || bytes.Equal(changed, text) {
		return err
	}
	return atomicfile.Write(file, 0o600, changed)
}

// readdressed returns a kubeconfig whose clusters are at an address, HOST:PORT, of this machine. The certificate is made out to
// 127.0.0.1 by all of them.
func readdressed(kubeconfig []byte, address string) ([]byte, error) {
	var file map[string]any
	if err := yaml.Unmarshal(kubeconfig, &file); err != nil {
		return nil, fmt.Errorf("cannot read the kubeconfig: %w", err)
	}
	same := true
	clusters, _ := file["clusters"].([]any)
	for _, entry := range clusters {
		named, _ := entry.(map[string]any)
		c, _ := named["cluster"].(map[string]any)
		server, _ := c["server"].(string)
		at, err := url.Parse(server)
		if err != nil || at.Host == "" {
			return nil, fmt.Errorf("cannot read the kubeconfig: %q is no address of a server", server)
		}
		if at.Host != address {
			at.Host, same = address, false
			c["server"] = at.String()
		}
	}
	if same {
		return kubeconfig, nil
	}
	return yaml.Marshal(file)
}
