package cluster

import (
	"context"
	"fmt"
	"net/http"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// As returns a client by which the agent acts as one of the gateway's administrators, with the name wire.UserPrefix + name: for
// what its own rights do not allow, and what the audit log of the cluster should tell apart.
func (c *Client) As(name string) (*Client, error) {
	return c.AsUser(wire.UserPrefix+name, []string{wire.GroupAdmins})
}

// AsUser returns a client by which the agent acts as a user of the gateway, whose names have the prefix.
func (c *Client) AsUser(user string, groups []string) (*Client, error) {
	if c.Base == nil { // a stand-in that knows no users
		return c, nil
	}
	who := transport.ImpersonationConfig{UserName: user, Groups: groups}
	client := &http.Client{Transport: transport.NewImpersonatingRoundTripper(who, c.HTTP.Transport), Timeout: requestTimeout}
	objects, err := c.objects(client, 50)
	if err != nil {
		return nil, err
	}
	return &Client{Base: c.Base, HTTP: client, Upgrade: c.Upgrade, Dynamic: objects}, nil
}

// Unbounded returns a client whose requests for objects have no time limit, as watches need it, and are not spread over time: for who
// bounds how many are made at once.
func (c *Client) Unbounded() (*Client, error) {
	if c.Base == nil {
		return c, nil
	}
	objects, err := c.objects(c.HTTP, -1)
	if err != nil {
		return nil, err
	}
	out := *c
	out.Dynamic = objects
	return &out, nil
}

func (c *Client) objects(client *http.Client, qps float32) (dynamic.Interface, error) {
	objects, err := dynamic.NewForConfigAndClient(&rest.Config{Host: c.Base.String(), UserAgent: wire.FieldManager, QPS: qps, Burst: 2 * int(qps)}, client)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client: %w", err)
	}
	return objects, nil
}

// CACerts returns the CA of a cluster of k3s in PEM, as its servers show it to machines that join.
func (c *Client) CACerts(ctx context.Context) ([]byte, error) { return c.get(ctx, "/cacerts") }
