package engine

import (
	"context"
	"net/http"
	"net/url"
)

// CreateNetwork makes a bridge network. With a subnet, such as "172.30.0.0/16", containers in it can be given addresses; without
// one the engine chooses it, and the addresses too. A name that is taken is a [Conflict].
func (c *Client) CreateNetwork(ctx context.Context, name, subnet string, labels, options map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	type pool struct{ Subnet string }
	network := struct {
		Name           string
		Driver         string
		CheckDuplicate bool // engines before 25 make a second one of the same name without it
		Labels         map[string]string
		Options        map[string]string
		IPAM           struct{ Config []pool }
	}{Name: name, Driver: "bridge", CheckDuplicate: true, Labels: labels, Options: options}
	if subnet != "" {
		network.IPAM.Config = []pool{{subnet}}
	}
	return c.call(ctx, "make the network "+name, http.MethodPost, "/networks/create", nil, network, nil)
}

// ConnectNetwork puts a container into a network, at an address of its own.
func (c *Client) ConnectNetwork(ctx context.Context, network, container, address string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	type ipam struct{ IPv4Address string }
	type endpoint struct{ IPAMConfig ipam }
	body := struct {
		Container      string
		EndpointConfig endpoint
	}{container, endpoint{ipam{address}}}
	return c.call(ctx, "give "+container+" the address "+address, http.MethodPost, "/networks/"+url.PathEscape(network)+"/connect", nil, body, nil)
}

// DisconnectNetwork takes a container out of a network.
func (c *Client) DisconnectNetwork(ctx context.Context, network, container string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	body := struct {
		Container string
		Force     bool
	}{container, true}
	return c.call(ctx, "take "+container+" out of the network "+network, http.MethodPost, "/networks/"+url.PathEscape(network)+"/disconnect", nil, body, nil)
}
