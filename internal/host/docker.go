package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
)

// Docker is the Docker engine.
type Docker struct {
	Reachable Known[bool] `json:"reachable"`
	Server    string      `json:"server,omitzero"` // version: "28.2.2"
	API       string      `json:"api,omitzero"`    // "1.50"
	Root      string      `json:"root,omitzero"`   // its data directory; "" is unknown

	MinAPI   string      `json:"min_api,omitzero"`  // the oldest that it speaks: "1.44"
	Driver   string      `json:"driver,omitzero"`   // storage driver: "overlay2"
	Rootless Known[bool] `json:"rootless,omitzero"` // run by a user that is not root
	Desktop  Known[bool] `json:"desktop,omitzero"`  // Docker Desktop: the engine is in a virtual machine of its own
	Outside  Known[bool] `json:"outside,omitzero"`  // the engine is not on this machine: its socket was mounted into this container
	Swarm    Known[bool] `json:"swarm,omitzero"`    // part of a swarm
}

const dockerSocket = "/run/docker.sock"

// maxDockerAnswer bounds the engine's answer, which is about 1 KiB.
const maxDockerAnswer = 64 << 10

func dockerProbe() Probe {
	return Probe{Name: "docker", Run: func(ctx context.Context, s *System) (Part, error) {
		d := s.Snapshot().Docker
		var err error
		if s.Live() {
			d, err = askDocker(ctx, s)
		}
		return func(f *Facts) { f.Docker = d }, err
	}}
}

// askDocker asks a running engine for its version. It does not knock where systemd would start the engine for it: a
// probe changes nothing.
func askDocker(ctx context.Context, s *System) (Docker, error) {
	if !s.has(dockerSocket) {
		return Docker{Reachable: Is(false)}, nil
	}
	if s.has("/run/systemd/system") {
		names, err := processNames(ctx, s)
		if err != nil {
			return Docker{}, err
		}
		if !slices.Contains(names, "dockerd") {
			return Docker{Reachable: Is(false)}, nil
		}
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", dockerSocket)
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/version", nil)
	if err != nil {
		return Docker{}, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return Docker{Reachable: Is(false)}, fmt.Errorf("cannot ask the Docker engine: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxDockerAnswer))
	if err != nil {
		return Docker{Reachable: Is(false)}, fmt.Errorf("cannot read the answer of the Docker engine: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return Docker{Reachable: Is(false)}, fmt.Errorf("cannot ask the Docker engine: it answers %s", resp.Status)
	}
	return ParseDockerVersion(b)
}

// ParseDockerVersion reads the answer to GET /version.
func ParseDockerVersion(b []byte) (Docker, error) {
	var v struct{ Version, ApiVersion string }
	if err := json.Unmarshal(b, &v); err != nil {
		return Docker{}, fmt.Errorf("cannot read the answer of the Docker engine: %w", err)
	}
	if v.Version == "" {
		return Docker{}, errors.New("cannot read the answer of the Docker engine: it names no version")
	}
	return Docker{Reachable: Is(true), Server: v.Version, API: v.ApiVersion}, nil
}
