package engine

import (
	"context"
	"net/http"
	"net/url"
)

// Network is a network of the engine.
type Network struct {
	ID     string            `json:"Id"`
	Name   string            `json:"Name"`
	Driver string            `json:"Driver"`
	Labels map[string]string `json:"Labels"`

	Options map[string]string `json:"Options"`
	IPAM    struct {
		Config []struct{ Subnet, Gateway string }
	} `json:"IPAM"`
	Containers map[string]struct { // by id; told only of one network
		Name        string
		IPv4Address string // with the length of its prefix
	} `json:"Containers"`
}

// Networks lists all networks.
func (c *Client) Networks(ctx context.Context) (all []Network, err error) {
	err = c.get(ctx, "list the networks", "/networks", nil, &all)
	return all, err
}

// Network returns a network by its name or id, with the containers that are in it.
func (c *Client) Network(ctx context.Context, name string) (n Network, err error) {
	err = c.get(ctx, "look at the network "+name, "/networks/"+url.PathEscape(name), nil, &n)
	return n, err
}

// RemoveNetwork removes a network that no running container uses.
func (c *Client) RemoveNetwork(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return c.call(ctx, "remove the network "+name, http.MethodDelete, "/networks/"+url.PathEscape(name), nil, nil, nil)
}

// Volume is a volume of the engine.
type Volume struct {
	Name   string            `json:"Name"`
	Driver string            `json:"Driver"`
	Labels map[string]string `json:"Labels"`
}

// Volumes lists all volumes.
func (c *Client) Volumes(ctx context.Context) ([]Volume, error) {
	var answer struct{ Volumes []Volume }
	err := c.get(ctx, "list the volumes", "/volumes", nil, &answer)
	return answer.Volumes, err
}

// RemoveVolume removes a volume that no container uses.
func (c *Client) RemoveVolume(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	return c.call(ctx, "remove the volume "+name, http.MethodDelete, "/volumes/"+url.PathEscape(name), nil, nil, nil)
}
