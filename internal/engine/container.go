package engine

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// stopTimeout is how long a stop may take beyond the grace that the container is given.
const stopTimeout = 30 * time.Second

// removeTimeout is for the removal of one container with its volumes, on a slow disk.
const removeTimeout = 5 * time.Minute

// Container is one of a list.
type Container struct {
	ID     string            `json:"Id"`
	Names  []string          `json:"Names"` // "/k3d-pipeops-server-0"
	Image  string            `json:"Image"`
	Labels map[string]string `json:"Labels"`
	State  string            `json:"State"` // "created", "running", "paused", "restarting", "exited", "dead"
}

// Name returns its name without the slash.
func (c Container) Name() string {
	if len(c.Names) == 0 {
		return c.ID
	}
	return strings.TrimPrefix(c.Names[0], "/")
}

// Details is what is known of one container.
type Details struct {
	ID    string `json:"Id"`
	Name  string `json:"Name"` // with a slash before it
	Image string `json:"Image"`
	State struct {
		Status    string `json:"Status"`
		Running   bool   `json:"Running"`
		Paused    bool   `json:"Paused"`
		ExitCode  int    `json:"ExitCode"`
		Error     string `json:"Error"`
		StartedAt string `json:"StartedAt"` // RFC 3339
	} `json:"State"`
	Config struct {
		Image  string            `json:"Image"`
		Labels map[string]string `json:"Labels"`
		Env    []string          `json:"Env"`
	} `json:"Config"`
	HostConfig struct {
		RestartPolicy Restart                  `json:"RestartPolicy"`
		PortBindings  map[string][]PortBinding `json:"PortBindings"` // what was asked for
	} `json:"HostConfig"`
	NetworkSettings struct {
		Ports    map[string][]PortBinding `json:"Ports"` // what is so while it runs
		Networks map[string]struct {
			IPAddress  string `json:"IPAddress"` // "" while it does not run
			Gateway    string `json:"Gateway"`
			IPAMConfig struct {
				IPv4Address string `json:"IPv4Address"` // that it was given; "" lets the engine choose
			} `json:"IPAMConfig"`
		} `json:"Networks"`
	} `json:"NetworkSettings"`
	Mounts []struct {
		Type, Name, Source, Destination string
	} `json:"Mounts"`
}

// Restart is when the engine starts a container by itself.
type Restart struct {
	Name string `json:"Name"` // "no", "always", "unless-stopped", "on-failure"
}

// PortBinding is a port of the machine.
type PortBinding struct {
	HostIP   string `json:"HostIp"`
	HostPort string `json:"HostPort"`
}

// Containers lists all containers, also those that do not run, with a label: "k3d.cluster=pipeops"; "" is any.
func (c *Client) Containers(ctx context.Context, label string) (all []Container, err error) {
	query := url.Values{}
	if label != "" {
		query = filters("label", label)
	}
	query.Set("all", "1")
	err = c.get(ctx, "list the containers", "/containers/json", query, &all)
	return all, err
}

// Container returns what is known of a container, by its name or id.
func (c *Client) Container(ctx context.Context, name string) (d Details, err error) {
	err = c.get(ctx, "look at the container "+name, "/containers/"+url.PathEscape(name)+"/json", nil, &d)
	return d, err
}

// StartContainer starts a container; one that runs stays as it is.
func (c *Client) StartContainer(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, removeTimeout) // it may have to wait for volumes and networks
	defer cancel()
	return c.call(ctx, "start the container "+name, http.MethodPost, "/containers/"+url.PathEscape(name)+"/start", nil, nil, nil)
}

// StopContainer stops a container, which is killed when grace is over. One that does not run stays as it is.
func (c *Client) StopContainer(ctx context.Context, name string, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, grace+stopTimeout)
	defer cancel()
	query := url.Values{"t": {strconv.Itoa(int(grace.Seconds()))}}
	return c.call(ctx, "stop the container "+name, http.MethodPost, "/containers/"+url.PathEscape(name)+"/stop", query, nil, nil)
}

// RemoveContainer kills and removes a container with its anonymous volumes.
func (c *Client) RemoveContainer(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	query := url.Values{"force": {"1"}, "v": {"1"}}
	return c.call(ctx, "remove the container "+name, http.MethodDelete, "/containers/"+url.PathEscape(name), query, nil, nil)
}

// SetRestart says when the engine shall start a container by itself.
func (c *Client) SetRestart(ctx context.Context, name, policy string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	change := map[string]any{"RestartPolicy": Restart{Name: policy}}
	return c.call(ctx, "set the restart policy of the container "+name, http.MethodPost, "/containers/"+url.PathEscape(name)+"/update", nil, change, nil)
}
