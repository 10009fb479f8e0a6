package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/engine"
)

// Docker is the Docker engine.
type Docker struct {
	Reachable Known[bool] `json:"reachable"`
	Server    string      `json:"server,omitzero"` // version: "28.2.2"
	API       string      `json:"api,omitzero"`    // "1.50"
	Root      string      `json:"root,omitzero"`   // its data directory, on the machine of the engine; "" is unknown

	Socket   string      `json:"socket,omitzero"`   // where it answers: "/run/docker.sock", "/run/user/1000/docker.sock"
	MinAPI   string      `json:"min_api,omitzero"`  // the oldest that it speaks: "1.44"
	Driver   string      `json:"driver,omitzero"`   // storage driver: "overlay2"
	Rootless Known[bool] `json:"rootless,omitzero"` // run by a user that is not root
	Desktop  Known[bool] `json:"desktop,omitzero"`  // Docker Desktop: the engine is in a virtual machine of its own
	Outside  Known[bool] `json:"outside,omitzero"`  // the engine is not on this machine: its socket was mounted into this container
	Swarm    Known[bool] `json:"swarm,omitzero"`    // part of a swarm
	Denied   Known[bool] `json:"denied,omitzero"`   // its socket is there, and whoever runs us may not use it
}

const (
	dockerSocket    = "/run/docker.sock"
	varDockerSocket = "/var/run/docker.sock" // the same, but on macOS
	dockerProcess   = "dockerd"

	// engineTimeout bounds the questions to the engine.
	engineTimeout = 3 * time.Second

	// maxDockerAnswer bounds the engine's answers: about 1 KiB for the version and 10 KiB for the rest.
	maxDockerAnswer = 1 << 20
)

func dockerProbe() Probe {
	return Probe{Name: "docker", Run: func(ctx context.Context, s *System) (Part, error) {
		d := s.Snapshot().Docker
		var err error
		if s.Live() {
			d, err = askDocker(ctx, s)
		}
		if d.Reachable.Value {
			names, _ := processNames(ctx, s)
			if !d.Outside.OK {
				d.Outside = dockerOutside(s, names)
			}
			if !d.Desktop.OK {
				d.Desktop = dockerDesktop(s, names)
			}
		}
		return func(f *Facts) { f.Docker = d }, err
	}}
}

// dockerOutside judges a reachable engine: in a container without an engine of its own, the socket was mounted.
func dockerOutside(s *System, names []string) Known[bool] {
	containers, sure := readContainers(s, false)
	switch {
	case slices.Contains(names, dockerProcess):
		return Is(false)
	case len(containers) > 0 && slices.Contains([]string{"docker", "podman", "kubernetes", "containerd"}, containers[0].Name):
		return Is(true)
	case len(containers) > 0 && names != nil && s.Live():
		return Is(true)
	case len(containers) > 0, !sure:
		return Known[bool]{}
	}
	return Is(false)
}

// dockerDesktop looks for what Docker Desktop mounts into the systems of WSL. An engine that answers there and is not the
// system's own can only be that of Docker Desktop.
func dockerDesktop(s *System, names []string) Known[bool] {
	for _, p := range []string{"/mnt/wsl/docker-desktop", "/mnt/wsl/docker-desktop-bind-mounts", "/mnt/wsl/docker-desktop-data"} {
		if s.has(p) {
			return Is(true)
		}
	}
	if readWSL(s).Value == 2 {
		return Is(unitFile(s, "docker.service") == "" && !slices.Contains(names, dockerProcess))
	}
	if s.Live() {
		return Is(runtime.GOOS == "darwin") // whatever engine is there, Linux is not
	}
	return Known[bool]{}
}

// dockerSockets lists where an engine may answer, the one that the environment names first.
func dockerSockets(getenv func(string) string, uid int) []string {
	var all []string
	add := func(dir string, name ...string) {
		p := path.Join(append([]string{dir}, name...)...)
		if path.IsAbs(dir) && !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	if p, ok := strings.CutPrefix(getenv("DOCKER_HOST"), "unix://"); ok { // no other way: a probe asks nobody outside
		add(p)
	}
	add(dockerSocket)
	add(varDockerSocket)
	add(getenv("XDG_RUNTIME_DIR"), "docker.sock")
	for _, id := range []string{strconv.Itoa(uid), getenv("SUDO_UID")} {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil && n != 0 {
			add("/run/user", id, "docker.sock")
		}
	}
	add(getenv("HOME"), ".docker/run/docker.sock")
	add(getenv("HOME"), ".docker/desktop/docker.sock")
	return all
}

// askDocker asks the first engine that answers. It does not knock where systemd would start one for it: a probe changes
// nothing.
func askDocker(ctx context.Context, s *System) (Docker, error) {
	names, err := processNames(ctx, s)
	if err != nil && runtime.GOOS == "linux" {
		return Docker{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	d := Docker{Reachable: Is(false)}
	for _, socket := range dockerSockets(os.Getenv, os.Geteuid()) {
		if !s.has(socket) || wouldStart(s, socket, names) {
			continue
		}
		var b []byte
		if b, err = dockerGet(ctx, socket, "/version", maxDockerAnswer); err != nil {
			if errors.Is(err, fs.ErrPermission) {
				d.Denied = Is(true)
			}
			continue
		}
		var found Docker
		if found, err = ParseDockerVersion(b); err != nil || !found.Reachable.Value {
			continue
		}
		d = found
		d.Socket = socket
		if b, err = dockerGet(ctx, socket, "/info", maxDockerAnswer); err != nil {
			return d, err
		}
		return ParseDockerInfo(d, b)
	}
	return d, err
}

// wouldStart tells whether systemd listens for an engine that does not run.
func wouldStart(s *System, socket string, names []string) bool {
	if !s.has("/run/systemd/system") {
		return false
	}
	at := follow(s, socket)
	if path.Base(at) == "podman.sock" { // package podman-docker
		return !slices.Contains(names, "podman")
	}
	return (at == dockerSocket || at == varDockerSocket) && !slices.Contains(names, dockerProcess) && unitFile(s, "docker.socket") != ""
}

// dockerGet asks the engine behind a socket one question.
func dockerGet(ctx context.Context, socket, path string, limit int64) ([]byte, error) {
	c := engine.At(socket)
	defer c.Close()
	return c.Raw(ctx, path, limit)
}

// ParseDockerVersion reads the answer to GET /version. Podman answers it too, and is another engine.
func ParseDockerVersion(b []byte) (Docker, error) {
	var v engine.Version
	if err := json.Unmarshal(b, &v); err != nil {
		return Docker{}, fmt.Errorf("cannot read the answer of the Docker engine: %w", err)
	}
	if v.Version == "" {
		return Docker{}, errors.New("cannot read the answer of the Docker engine: it names no version")
	}
	if v.Podman() {
		return Docker{Reachable: Is(false)}, nil
	}
	return Docker{Reachable: Is(true), Server: v.Version, API: v.API, MinAPI: v.MinAPI}, nil
}

// ParseDockerInfo adds what the answer to GET /info tells.
func ParseDockerInfo(d Docker, b []byte) (Docker, error) {
	if !d.Reachable.Value {
		return d, nil
	}
	var v struct {
		DockerRootDir, Driver, OperatingSystem string
		SecurityOptions                        []string
		Swarm                                  struct{ LocalNodeState string }
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return d, fmt.Errorf("cannot read the answer of the Docker engine: %w", err)
	}
	if path.IsAbs(v.DockerRootDir) {
		d.Root = path.Clean(v.DockerRootDir)
	}
	d.Driver = v.Driver
	d.Rootless = Is(slices.ContainsFunc(v.SecurityOptions, func(o string) bool { return o == "name=rootless" || o == "rootless" }))
	if v.OperatingSystem == "Docker Desktop" {
		d.Desktop = Is(true)
	}
	switch v.Swarm.LocalNodeState {
	case "inactive":
		d.Swarm = Is(false)
	case "active", "pending", "locked", "error":
		d.Swarm = Is(true)
	}
	return d, nil
}
