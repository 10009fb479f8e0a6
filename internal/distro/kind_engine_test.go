package distro

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// standInEngine is a stand-in for a Docker engine, behind a socket: it keeps containers, networks and images, gives addresses
// as Docker does (the lowest that is free, to whoever comes first), and refuses what Docker refuses.
type standInEngine struct {
	socket string

	mu         sync.Mutex
	containers []*standInNode // in the order of their making
	networks   map[string]*standInNetwork
	images     map[string]bool
	pulls      []string // what was asked of the registry, which does not answer
	hostPort   int      // the next that is published at random
}

type standInNode struct {
	id, name  string
	labels    map[string]string
	running   bool
	policy    string
	network   string
	wants     string // address that it was given
	address   string
	published map[string]string // "6443/tcp": "127.0.0.1:6443"; an address that ends in ":0" is another one at each start
	ports     map[string]string
}

type standInNetwork struct {
	name, subnet string
	chosen       bool // by a user
}

func newStandInEngine(t *testing.T) *standInEngine {
	t.Helper()
	dir, err := os.MkdirTemp("", "engine") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	e := &standInEngine{socket: filepath.Join(dir, "docker.sock"), networks: map[string]*standInNetwork{"bridge": {name: "bridge", subnet: "172.17.0.0/16"}}, images: map[string]bool{}, hostPort: 32768}
	l, err := net.Listen("unix", e.socket)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(e.handler())
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return e
}

func (e *standInEngine) handler() http.Handler {
	m := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }
	refuse := func(w http.ResponseWriter, status int, message string) {
		w.WriteHeader(status)
		answer(w, map[string]string{"message": message})
	}
	handle := func(pattern string, do func(w http.ResponseWriter, r *http.Request)) {
		m.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			e.mu.Lock()
			defer e.mu.Unlock()
			do(w, r)
		})
	}
	node := func(do func(w http.ResponseWriter, r *http.Request, n *standInNode)) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			for _, n := range e.containers {
				if id := r.PathValue("id"); n.id == id || n.name == id {
					do(w, r, n)
					return
				}
			}
			refuse(w, http.StatusNotFound, "No such container: "+r.PathValue("id"))
		}
	}
	handle("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]string{"Version": "27.3.1", "ApiVersion": "1.47", "MinAPIVersion": "1.24"})
	})
	handle("GET /containers/json", func(w http.ResponseWriter, r *http.Request) {
		var want struct{ Label []string }
		_ = json.Unmarshal([]byte(r.URL.Query().Get("filters")), &want)
		all := []map[string]any{}
		for _, n := range e.containers {
			if len(want.Label) > 0 {
				key, value, given := strings.Cut(want.Label[0], "=")
				if have, is := n.labels[key]; !is || given && have != value {
					continue
				}
			}
			all = append(all, map[string]any{"Id": n.id, "Names": []string{"/" + n.name}, "Labels": n.labels, "State": n.state()})
		}
		slices.Reverse(all) // Docker lists the newest first
		answer(w, all)
	})
	handle("GET /containers/{id}/json", node(func(w http.ResponseWriter, _ *http.Request, n *standInNode) {
		ports := map[string]any{}
		for inside, outside := range n.ports {
			ip, port, _ := net.SplitHostPort(outside)
			ports[inside] = []map[string]string{{"HostIp": ip, "HostPort": port}}
		}
		networks := map[string]any{}
		if n.network != "" {
			networks[n.network] = map[string]any{"IPAddress": n.address, "IPAMConfig": map[string]string{"IPv4Address": n.wants}}
		}
		answer(w, map[string]any{
			"Id": n.id, "Name": "/" + n.name, "State": map[string]any{"Status": n.state(), "Running": n.running},
			"Config":     map[string]any{"Labels": n.labels},
			"HostConfig": map[string]any{"RestartPolicy": map[string]string{"Name": n.policy}}, "NetworkSettings": map[string]any{"Ports": ports, "Networks": networks},
		})
	}))
	handle("POST /containers/create", func(w http.ResponseWriter, r *http.Request) {
		var want struct {
			Image      string
			Labels     map[string]string
			HostConfig struct {
				NetworkMode  string
				PortBindings map[string][]struct{ HostIp, HostPort string }
			}
		}
		_ = json.NewDecoder(r.Body).Decode(&want)
		n := &standInNode{name: r.URL.Query().Get("name"), labels: want.Labels, network: want.HostConfig.NetworkMode, published: map[string]string{}}
		for inside, at := range want.HostConfig.PortBindings {
			n.published[inside] = net.JoinHostPort(at[0].HostIp, at[0].HostPort)
		}
		switch {
		case !e.images[want.Image]:
			refuse(w, http.StatusNotFound, "No such image: "+want.Image)
		case e.networks[n.network] == nil:
			refuse(w, http.StatusNotFound, "network "+n.network+" not found")
		default:
			if err := e.create(n); err != nil {
				refuse(w, http.StatusConflict, err.Error())
				return
			}
			w.WriteHeader(http.StatusCreated)
			answer(w, map[string]string{"Id": n.id})
		}
	})
	handle("POST /containers/{id}/start", node(func(w http.ResponseWriter, _ *http.Request, n *standInNode) {
		if err := e.start(n); err != nil {
			refuse(w, http.StatusInternalServerError, err.Error())
		}
	}))
	handle("POST /containers/{id}/stop", node(func(_ http.ResponseWriter, _ *http.Request, n *standInNode) { n.stop() }))
	handle("POST /containers/{id}/update", node(func(w http.ResponseWriter, r *http.Request, n *standInNode) {
		var change struct{ RestartPolicy struct{ Name string } }
		_ = json.NewDecoder(r.Body).Decode(&change)
		n.policy = change.RestartPolicy.Name
		answer(w, map[string]any{})
	}))
	handle("DELETE /containers/{id}", node(func(_ http.ResponseWriter, _ *http.Request, n *standInNode) {
		e.containers = slices.DeleteFunc(e.containers, func(o *standInNode) bool { return o == n })
	}))
	handle("GET /networks", func(w http.ResponseWriter, _ *http.Request) {
		all := []any{}
		for _, n := range e.networks {
			all = append(all, map[string]any{"Name": n.name})
		}
		answer(w, all)
	})
	handle("GET /networks/{name}", func(w http.ResponseWriter, r *http.Request) {
		n, ok := e.networks[r.PathValue("name")]
		if !ok {
			refuse(w, http.StatusNotFound, "network not found")
			return
		}
		answer(w, map[string]any{"Name": n.name, "IPAM": map[string]any{"Config": []map[string]string{{"Subnet": n.subnet}}}, "Options": map[string]string{mtuOption: "1450"}})
	})
	handle("POST /networks/create", func(w http.ResponseWriter, r *http.Request) {
		var want struct {
			Name string
			IPAM struct{ Config []struct{ Subnet string } }
		}
		_ = json.NewDecoder(r.Body).Decode(&want)
		if e.networks[want.Name] != nil {
			refuse(w, http.StatusConflict, "network with name "+want.Name+" already exists")
			return
		}
		n := &standInNetwork{name: want.Name, subnet: "172.18.0.0/16"}
		if len(want.IPAM.Config) > 0 {
			n.subnet, n.chosen = want.IPAM.Config[0].Subnet, true
		}
		e.networks[want.Name] = n
		w.WriteHeader(http.StatusCreated)
		answer(w, map[string]string{"Id": want.Name})
	})
	handle("DELETE /networks/{name}", func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		switch {
		case e.networks[name] == nil:
			refuse(w, http.StatusNotFound, "network not found")
		case slices.ContainsFunc(e.containers, func(n *standInNode) bool { return n.network == name && n.running }):
			refuse(w, http.StatusForbidden, "network has active endpoints")
		default:
			delete(e.networks, name)
		}
	})
	handle("POST /networks/{name}/disconnect", func(w http.ResponseWriter, r *http.Request) {
		var want struct{ Container string }
		_ = json.NewDecoder(r.Body).Decode(&want)
		for _, n := range e.containers {
			if n.id == want.Container {
				n.network, n.wants, n.address = "", "", ""
			}
		}
	})
	handle("POST /networks/{name}/connect", func(w http.ResponseWriter, r *http.Request) {
		var want struct {
			Container      string
			EndpointConfig struct{ IPAMConfig struct{ IPv4Address string } }
		}
		_ = json.NewDecoder(r.Body).Decode(&want)
		network := e.networks[r.PathValue("name")]
		if network == nil || !network.chosen {
			refuse(w, http.StatusBadRequest, "user specified IP address is supported only when connecting to networks with user configured subnets")
			return
		}
		for _, n := range e.containers {
			if n.id == want.Container {
				n.network, n.wants = network.name, want.EndpointConfig.IPAMConfig.IPv4Address
			}
		}
	})
	handle("GET /volumes", func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]any{"Volumes": []any{}}) })
	handle("DELETE /volumes/{name}", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotFound, "no such volume")
	})
	handle("POST /images/load", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		for name := range strings.FieldsSeq(string(b)) { // an archive of the test is a list of names
			e.images[name] = true
		}
		answer(w, map[string]string{"stream": "loaded"})
	})
	handle("POST /images/create", func(w http.ResponseWriter, r *http.Request) {
		e.pulls = append(e.pulls, r.URL.Query().Get("fromImage")+"@"+r.URL.Query().Get("tag"))
		refuse(w, http.StatusInternalServerError, "dial tcp: lookup registry-1.docker.io: no such host")
	})
	handle("GET /images/json", func(w http.ResponseWriter, _ *http.Request) {
		all := []map[string]any{}
		for name := range e.images {
			all = append(all, map[string]any{"Id": "sha256:" + name, "RepoTags": []string{name}})
		}
		answer(w, all)
	})
	m.HandleFunc("/images/", func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		defer e.mu.Unlock()
		name := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/images/"), "/json")
		switch {
		case !e.images[name]:
			refuse(w, http.StatusNotFound, "No such image: "+name)
		case r.Method == http.MethodDelete:
			delete(e.images, name)
			answer(w, []any{})
		default:
			answer(w, map[string]any{"Id": "sha256:" + name})
		}
	})
	return http.StripPrefix("", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = strings.TrimPrefix(r.URL.Path, "/v1.47")
		m.ServeHTTP(w, r)
	}))
}

func (n *standInNode) state() string {
	if n.running {
		return "running"
	}
	return "exited"
}

func (n *standInNode) stop() { n.running, n.address, n.ports = false, "", nil }

// start gives the node an address and its ports.
func (e *standInEngine) start(n *standInNode) error {
	if n.running {
		return nil
	}
	n.address = n.wants
	if n.address == "" {
		prefix := strings.TrimSuffix(e.networks[n.network].subnet, "0.0/16")
		for i := 2; n.address == ""; i++ {
			if ip := fmt.Sprintf("%s0.%d", prefix, i); !slices.ContainsFunc(e.containers, func(o *standInNode) bool { return o.address == ip || o.wants == ip }) {
				n.address = ip
			}
		}
	}
	if slices.ContainsFunc(e.containers, func(o *standInNode) bool { return o != n && o.address == n.address }) {
		return fmt.Errorf("address %s is already in use", n.address)
	}
	n.running, n.ports = true, map[string]string{}
	for inside, outside := range n.published {
		if at, random := strings.CutSuffix(outside, ":0"); random {
			e.hostPort++
			outside = fmt.Sprintf("%s:%d", at, e.hostPort)
		}
		n.ports[inside] = outside
	}
	return nil
}

// run makes and starts a container, as docker run does.
func (e *standInEngine) run(n *standInNode) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.create(n); err != nil {
		return err
	}
	return e.start(n)
}

// create makes a container that does not run yet.
func (e *standInEngine) create(n *standInNode) error {
	if slices.ContainsFunc(e.containers, func(o *standInNode) bool { return o.name == n.name }) {
		return fmt.Errorf(`the container name "/%s" is already in use by container "1"`, n.name)
	}
	n.id = fmt.Sprintf("id%d-%s", len(e.containers), n.name)
	e.containers = append(e.containers, n)
	return nil
}

// cut is a power cut: nothing runs. What the engine starts by itself, it starts in an order of its own, here backwards.
func (e *standInEngine) cut() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range e.containers {
		n.stop()
	}
	for _, n := range slices.Backward(e.containers) {
		if n.policy != "no" && n.policy != "" {
			_ = e.start(n)
		}
	}
}

// addresses returns the address of each node that runs.
func (e *standInEngine) addresses() map[string]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := map[string]string{}
	for _, n := range e.containers {
		if n.running {
			all[n.name] = n.address
		}
	}
	return all
}
