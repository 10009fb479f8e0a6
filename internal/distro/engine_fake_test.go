package distro

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

// fakeContainer is a container of a fakeEngine.
type fakeContainer struct {
	id, name, image, state, restart string
	labels                          map[string]string
	port                            string // of this machine, at which 6443/tcp is published
	volumes                         []string
	pinned                          bool // to its address
}

// fakeEngine is a stand-in for a Docker engine, on a socket: it keeps what it is told of, and runs nothing.
type fakeEngine struct {
	t      *testing.T
	socket string

	mu         sync.Mutex
	images     map[string]string // ID by name
	containers map[string]*fakeContainer
	networks   map[string]bool
	volumes    map[string]bool
	inUse      map[string]bool // images, networks and volumes that something else uses
	minAPI     string
	refused    []string // requests whose version it does not speak
	started    []string // in the order of their start
	made       int      // containers so far, for their ids
	busy       int      // how many more questions it does not answer
}

func newFakeEngine(t *testing.T) *fakeEngine {
	t.Helper()
	dir, err := os.MkdirTemp("", "engine") // the path of a socket has at most 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	e := &fakeEngine{t: t, socket: filepath.Join(dir, "docker.sock"), images: map[string]string{}, containers: map[string]*fakeContainer{},
		networks: map[string]bool{"bridge": true, "theirs": true}, volumes: map[string]bool{"theirs": true}, inUse: map[string]bool{}, minAPI: "1.44"}
	l, err := net.Listen("unix", e.socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: e}}
	srv.Start()
	t.Cleanup(srv.Close)
	return e
}

// holds lists all that is in it.
func (e *fakeEngine) holds() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []string
	for name := range e.images {
		all = append(all, "image "+name)
	}
	for name, c := range e.containers {
		all = append(all, "container "+name+" "+c.state)
	}
	for name := range e.networks {
		all = append(all, "network "+name)
	}
	for name := range e.volumes {
		all = append(all, "volume "+name)
	}
	slices.Sort(all)
	return all
}

var versioned = regexp.MustCompile(`^/v1\.([0-9]+)(/.*)$`)

func (e *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	path := r.URL.Path
	if e.busy > 0 {
		e.busy--
		e.refuse(w, http.StatusServiceUnavailable, "not yet")
		return
	}
	if m := versioned.FindStringSubmatch(path); m != nil {
		path = m[2]
		if len(m[1]) < 2 || "1."+m[1] < e.minAPI {
			e.refused = append(e.refused, r.URL.Path)
			e.refuse(w, http.StatusBadRequest, "client version 1."+m[1]+" is too old")
			return
		}
	}
	parts := strings.SplitN(strings.TrimPrefix(path, "/"), "/", 3)
	for len(parts) < 3 {
		parts = append(parts, "")
	}
	switch {
	case path == "/version":
		e.answer(w, map[string]any{"Version": "29.0.0", "ApiVersion": "1.52", "MinAPIVersion": e.minAPI})
	case path == "/networks":
		e.answer(w, e.list(e.networks))
	case path == "/volumes":
		e.answer(w, map[string]any{"Volumes": e.list(e.volumes)})
	case parts[0] == "networks" && (parts[2] == "connect" || parts[2] == "disconnect"):
		var want struct {
			Container      string
			EndpointConfig struct{ IPAMConfig struct{ IPv4Address string } }
		}
		if err := json.NewDecoder(r.Body).Decode(&want); err != nil {
			e.t.Error(err)
		}
		c := e.containers[e.named(want.Container)]
		if c == nil || c.state == "running" {
			e.t.Errorf("%s of %q", parts[2], want.Container)
			return
		}
		c.pinned = parts[2] == "connect" && want.EndpointConfig.IPAMConfig.IPv4Address == "172.20.0.3"
	case parts[0] == "networks" && r.Method == http.MethodDelete:
		e.drop(w, e.networks, parts[1], http.StatusForbidden)
	case parts[0] == "networks" && e.networks[parts[1]]:
		e.answer(w, map[string]any{"Name": parts[1], "IPAM": map[string]any{"Config": []any{map[string]any{"Subnet": "172.20.0.0/16", "Gateway": "172.20.0.1"}}}})
	case parts[0] == "volumes" && r.Method == http.MethodDelete:
		e.drop(w, e.volumes, parts[1], http.StatusConflict)
	case path == "/images/json":
		all := []any{}
		for _, name := range slices.Sorted(maps.Keys(e.images)) {
			all = append(all, map[string]any{"Id": e.images[name], "RepoTags": []string{name}})
		}
		e.answer(w, all)
	case parts[0] == "images":
		e.image(w, r, path)
	case path == "/containers/json":
		e.listContainers(w, r)
	case parts[0] == "containers":
		e.container(w, r, parts[1], parts[2])
	default:
		e.refuse(w, http.StatusNotFound, "page not found: "+path)
	}
}

func (e *fakeEngine) answer(w http.ResponseWriter, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		e.t.Error(err)
	}
}

func (e *fakeEngine) refuse(w http.ResponseWriter, status int, message string) {
	w.WriteHeader(status)
	e.answer(w, map[string]string{"message": message})
}

func (e *fakeEngine) list(names map[string]bool) []any {
	all := []any{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		all = append(all, map[string]any{"Name": name})
	}
	return all
}

func (e *fakeEngine) drop(w http.ResponseWriter, of map[string]bool, name string, used int) {
	switch {
	case !of[name]:
		e.refuse(w, http.StatusNotFound, "no such thing: "+name)
	case e.inUse[name]:
		e.refuse(w, used, name+" is in use")
	default:
		delete(of, name)
		w.WriteHeader(http.StatusNoContent)
	}
}

func (e *fakeEngine) image(w http.ResponseWriter, r *http.Request, path string) {
	name := strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(path, "/images/"), "/json"), "/tag")
	switch {
	case path == "/images/load":
		content, err := io.ReadAll(r.Body)
		if err != nil {
			e.t.Error(err)
		}
		text, found := strings.CutPrefix(string(content), "archive of ")
		if !found {
			e.answer(w, map[string]string{"error": "invalid tar header"})
			return
		}
		e.images[text] = "sha256:loaded"
		e.answer(w, map[string]string{"stream": "Loaded image"})
	case path == "/images/create":
		e.images[r.URL.Query().Get("fromImage")+"@"+r.URL.Query().Get("tag")] = r.URL.Query().Get("tag")
		e.answer(w, map[string]any{"status": "Downloading", "id": "layer", "progressDetail": map[string]int{"current": 1, "total": 2}})
	case strings.HasSuffix(path, "/tag"):
		e.images[r.URL.Query().Get("repo")+":"+r.URL.Query().Get("tag")] = e.images[name]
		delete(e.images, name) // as the engine lists it from now on
		w.WriteHeader(http.StatusCreated)
	case e.images[name] == "":
		e.refuse(w, http.StatusNotFound, "No such image: "+name)
	case r.Method == http.MethodDelete && e.inUse[name]:
		e.refuse(w, http.StatusConflict, "conflict: unable to remove "+name)
	case r.Method == http.MethodDelete:
		delete(e.images, name)
		e.answer(w, []any{})
	default:
		e.answer(w, map[string]any{"Id": e.images[name], "RepoTags": []string{name}})
	}
}

func (e *fakeEngine) listContainers(w http.ResponseWriter, r *http.Request) {
	var filter struct{ Label []string }
	if text := r.URL.Query().Get("filters"); text != "" {
		if err := json.Unmarshal([]byte(text), &filter); err != nil {
			e.t.Error(err)
		}
	}
	all := []any{}
	for _, name := range slices.Sorted(maps.Keys(e.containers)) {
		c := e.containers[name]
		if slices.ContainsFunc(filter.Label, func(l string) bool { k, v, _ := strings.Cut(l, "="); return c.labels[k] != v }) {
			continue
		}
		all = append(all, map[string]any{"Id": c.id, "Names": []string{"/" + name}, "Image": c.image, "Labels": c.labels, "State": c.state})
	}
	e.answer(w, all)
}

// named returns the name of the container with that id or name.
func (e *fakeEngine) named(which string) string {
	for _, c := range e.containers {
		if c.id == which {
			return c.name
		}
	}
	return which
}

func (e *fakeEngine) container(w http.ResponseWriter, r *http.Request, name, verb string) {
	name = e.named(name)
	c := e.containers[name]
	switch {
	case c == nil:
		e.refuse(w, http.StatusNotFound, "No such container: "+name)
	case r.Method == http.MethodDelete:
		delete(e.containers, name)
		for _, v := range c.volumes {
			delete(e.volumes, v)
		}
		w.WriteHeader(http.StatusNoContent)
	case verb == "start" && c.state == "running":
		w.WriteHeader(http.StatusNotModified)
	case verb == "start":
		c.state = "running"
		e.started = append(e.started, name)
		w.WriteHeader(http.StatusNoContent)
	case verb == "stop":
		c.state = "exited"
		e.started = append(e.started, "stop "+name)
		w.WriteHeader(http.StatusNoContent)
	case verb == "update":
		var change struct{ RestartPolicy struct{ Name string } }
		if err := json.NewDecoder(r.Body).Decode(&change); err != nil {
			e.t.Error(err)
		}
		c.restart = change.RestartPolicy.Name
		e.answer(w, map[string]any{})
	default:
		ports := map[string]any{}
		if c.port != "" && c.state == "running" {
			ports["6443/tcp"] = []any{map[string]string{"HostIp": "127.0.0.1", "HostPort": c.port}}
		}
		fixed := map[string]string{}
		if c.pinned {
			fixed["IPv4Address"] = "172.20.0.3"
		}
		e.answer(w, map[string]any{
			"Id": c.id, "Name": "/" + name,
			"State":           map[string]any{"Status": c.state, "Running": c.state == "running", "Paused": c.state == "paused"},
			"Config":          map[string]any{"Image": c.image, "Labels": c.labels},
			"HostConfig":      map[string]any{"RestartPolicy": map[string]string{"Name": c.restart}},
			"NetworkSettings": map[string]any{"Ports": ports, "Networks": map[string]any{"k3d-pipeops": map[string]any{"IPAddress": "172.20.0.3", "IPAMConfig": fixed}}},
		})
	}
}

// make puts a node of k3d's into the engine.
func (e *fakeEngine) make(cluster, role string, n int, port string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	name := fmt.Sprintf("k3d-%s-%s-%d", cluster, role, n)
	e.made++
	e.containers[name] = &fakeContainer{id: fmt.Sprintf("%064x", e.made), name: name, image: "rancher/k3s", state: "running", restart: "unless-stopped", port: port,
		labels: map[string]string{"app": "k3d", "k3d.cluster": cluster, "k3d.role": role}, volumes: []string{"anonymous of " + name}, pinned: n < 10}
	e.volumes["anonymous of "+name] = true
	e.networks["k3d-"+cluster] = true
}

// k3dBench is a bench on which k3d can be installed: the program is a stand-in that makes containers in the fake engine.
type k3dBench struct {
	*bench
	engine *fakeEngine
	calls  []string
	fail   func(args []string) error // of the next call of the program; nil: none fails
	api    string                    // HOST:PORT of the API that the kubeconfig leads to
	zone   atomic.Value              // that the API was given
}

func newK3dBench(t *testing.T) *k3dBench {
	b := &k3dBench{bench: newBench(t), engine: newFakeEngine(t)}
	api := httptest.NewServer(http.HandlerFunc(b.serveAPI))
	t.Cleanup(api.Close)
	b.api = strings.TrimPrefix(api.URL, "http://")
	b.list.Files = nil
	b.listed("binary", K3dVersion, "k3d-io/k3d/releases/download/"+K3dVersion+"/k3d-linux-amd64", "the k3d binary")
	b.listed("node-image", "v1.33.2+k3s1", "pipeopshq/pipeops-agent/releases/download/node-images/k3d-node-image-v1.33.2+k3s1-amd64.tar", "archive of rancher/k3s:v1.33.2-k3s1")
	b.publish()
	b.in.EngineSocket, b.in.Remedies, b.in.APIPort = b.engine.socket, nil, 16443
	b.in.Program = "/usr/local/bin/pipeops-agent"
	b.in.Ready = func(context.Context) error { return nil }
	b.in.Run = b.program
	b.units.states["docker.service"] = unit.State{File: "enabled", Active: "active"}
	return b
}

// program is k3d.
func (b *k3dBench) program(_ context.Context, _ time.Duration, argv ...string) ([]byte, error) {
	i := slices.IndexFunc(argv, func(a string) bool { return strings.HasSuffix(a, "/k3d") })
	if argv[0] != "env" || i < 0 {
		return nil, fmt.Errorf("nobody knows %q", argv)
	}
	args := argv[i+1:]
	b.calls = append(b.calls, strings.Join(args, " "))
	if b.fail != nil {
		if err := b.fail(args); err != nil {
			return nil, err
		}
	}
	switch strings.Join(args[:2], " ") {
	case "cluster create":
		text, err := os.ReadFile(args[3])
		if err != nil {
			return nil, err
		}
		var servers, agents int
		for line := range strings.Lines(string(text)) {
			_, _ = fmt.Sscanf(line, "servers: %d", &servers)
			_, _ = fmt.Sscanf(line, "agents: %d", &agents)
		}
		for n := range servers {
			b.engine.make("pipeops", "server", n, strings.TrimPrefix(b.api, "127.0.0.1:"))
		}
		for n := range agents {
			b.engine.make("pipeops", "agent", n, "")
		}
		return nil, nil
	case "kubeconfig get":
		return []byte("apiVersion: v1\nclusters:\n- cluster:\n    server: http://" + b.api + "\n  name: k3d-pipeops\ncontexts:\n- context:\n    cluster: k3d-pipeops\n    user: admin\n  name: k3d\ncurrent-context: k3d\nkind: Config\nusers:\n- name: admin\n  user: {}\n"), nil
	case "node create":
		b.engine.make("pipeops", "agent", 10+len(b.calls), "")
		return nil, nil
	}
	return nil, fmt.Errorf("nobody knows k3d %q", args)
}

// serveAPI is a stand-in for an API server that takes a ConfigMap.
func (b *k3dBench) serveAPI(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPatch || r.URL.Path != "/api/v1/namespaces/kube-system/configmaps/coredns-custom" {
		http.NotFound(w, r)
		return
	}
	content, err := io.ReadAll(r.Body)
	if err != nil {
		b.t.Error(err)
	}
	b.zone.Store(string(content))
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(content)
}

func (b *k3dBench) steps() []plan.Step {
	b.t.Helper()
	b.anew()
	steps, err := k3dNodes().steps(b.in)
	if err != nil {
		b.t.Fatal(err)
	}
	return steps
}

// listed puts a file into the mirror and the manifest.
func (b *k3dBench) listed(role, version, path, content string) {
	b.mirror["/"+path] = []byte(content)
	b.list.Files = append(b.list.Files, manifest.File{Product: "k3d", Version: version, Arch: "amd64", Name: role, Origin: manifest.Origin, Path: path,
		Bytes: int64(len(content)), SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte(content)))})
}
