package host

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	dockerVersion = `{"Version":"29.1.0","ApiVersion":"1.52","MinAPIVersion":"1.44","Components":[{"Name":"Engine"}]}`
	dockerInfo    = `{"DockerRootDir":"/mnt/docker/","Driver":"overlay2","OperatingSystem":"Debian","SecurityOptions":["name=seccomp,profile=builtin","name=rootless"],"Swarm":{"LocalNodeState":"active"}}`
	k3dNodes      = `[{"Names":["/k3d-dev-server-0"],"State":"running","Labels":{"app":"k3d","k3d.cluster":"dev","k3d.role":"server","k3d.cluster.token":"s3cret"}},
{"Names":["/k3d-dev-serverlb"],"State":"running","Ports":[{"PrivatePort":80,"PublicPort":8080,"Type":"tcp"},{"IP":"0.0.0.0","PrivatePort":6443,"PublicPort":6550,"Type":"tcp"},{"PrivatePort":6443,"PublicPort":1,"Type":"udp"}],"Labels":{"app":"k3d","k3d.cluster":"dev","k3d.role":"loadbalancer"}},
{"Names":["/k3d-old-serverlb"],"State":"running","Labels":{"app":"k3d","k3d.cluster":"old","k3d.role":"loadbalancer"}},
{"Names":["/k3d-old-server-0"],"State":"exited","Labels":{"app":"k3d","k3d.cluster":"old","k3d.role":"server"}}]`
)

// fakeEngine plays a Docker engine behind a unix socket.
func fakeEngine(t *testing.T, answers map[string]string) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.URL.Path+r.URL.Query().Get("filters")]
		if !ok {
			answer, ok = answers[r.URL.Path]
		}
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte(answer))
	}))
	server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	return socket
}

func TestAskDocker(t *testing.T) {
	socket := fakeEngine(t, map[string]string{"/version": dockerVersion, "/info": dockerInfo})
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	d, err := askDocker(t.Context(), Live())
	want := Docker{
		Reachable: Is(true), Server: "29.1.0", API: "1.52", Root: "/mnt/docker", Socket: socket, MinAPI: "1.44", Driver: "overlay2", Rootless: Is(true), Swarm: Is(true),
	}
	if diff := cmp.Diff(want, d); diff != "" || err != nil {
		t.Errorf("%s, %v", diff, err)
	}
	f, err := dockerProbe().Run(t.Context(), Live())
	var facts Facts
	f(&facts)
	if err != nil || !facts.Docker.Reachable.Value || !facts.Docker.Desktop.OK {
		t.Errorf("%+v, %v", facts.Docker, err)
	}
}

// TestDeniedSocket: an engine that is there, for others.
func TestDeniedSocket(t *testing.T) {
	socket := fakeEngine(t, map[string]string{"/version": dockerVersion, "/info": dockerInfo})
	for path, mode := range map[string]os.FileMode{socket: 0, filepath.Dir(filepath.Dir(socket)): 0o755} { // it can be seen
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() == 0 { // who may use it in spite of its mode
		if err := syscall.Setreuid(-1, 65534); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := syscall.Setreuid(-1, 0); err != nil {
				t.Error(err)
			}
		}()
	}
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	if d, _ := askDocker(t.Context(), Live()); d.Reachable.Value || !d.Denied.Value {
		t.Errorf("%+v", d)
	}
}

func TestDockerAnswersThatAreNone(t *testing.T) {
	for name, answers := range map[string]map[string]string{
		"not found": {}, "a page": {"/version": "<html>"}, "Podman": {"/version": `{"Version":"4.9.3","ApiVersion":"1.41","Components":[{"Name":"Podman Engine"}]}`},
	} {
		t.Setenv("DOCKER_HOST", "unix://"+fakeEngine(t, answers))
		if d, err := askDocker(t.Context(), Live()); d.Reachable.Value || (err == nil) != (name == "Podman") {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	t.Setenv("DOCKER_HOST", "unix://"+fakeEngine(t, map[string]string{"/version": dockerVersion}))
	if d, err := askDocker(t.Context(), Live()); !d.Reachable.Value || err == nil {
		t.Errorf("half an answer: %+v, %v", d, err)
	}
}

func TestDockerSockets(t *testing.T) {
	env := map[string]string{"DOCKER_HOST": "tcp://192.0.2.1:2375", "XDG_RUNTIME_DIR": "/run/user/1000", "HOME": "/home/joe", "SUDO_UID": "../../etc"}
	want := []string{dockerSocket, varDockerSocket, "/run/user/1000/docker.sock", "/home/joe/.docker/run/docker.sock", "/home/joe/.docker/desktop/docker.sock"}
	if diff := cmp.Diff(want, dockerSockets(func(k string) string { return env[k] }, 1000)); diff != "" {
		t.Error(diff)
	}
	env = map[string]string{"DOCKER_HOST": "unix:///x/docker.sock", "SUDO_UID": "1001"}
	if got := dockerSockets(func(k string) string { return env[k] }, 0); got[0] != "/x/docker.sock" || got[len(got)-1] != "/run/user/1001/docker.sock" {
		t.Errorf("%v", got)
	}
}

func TestDockerOfCapture(t *testing.T) {
	for _, c := range []struct {
		name             string
		files            map[string]string
		outside, desktop Known[bool]
	}{
		{"on this machine", map[string]string{SnapshotFile: `{"docker":{"reachable":true},"processes":["dockerd"]}`, ".dockerenv": ""}, Is(false), Known[bool]{}},
		{"mounted socket", map[string]string{SnapshotFile: `{"docker":{"reachable":true},"processes":[]}`, ".dockerenv": ""}, Is(true), Known[bool]{}},
		{"in LXC", map[string]string{SnapshotFile: `{"docker":{"reachable":true}}`, "run/systemd/container": "lxc\n"}, Known[bool]{}, Known[bool]{}},
		{"virtual machine", map[string]string{SnapshotFile: `{"docker":{"reachable":true}}`, "proc/1/cgroup": "0::/init.scope\n"}, Is(false), Known[bool]{}},
		{"Docker Desktop", map[string]string{SnapshotFile: `{"docker":{"reachable":true}}`, "mnt/wsl/docker-desktop/.captured": "", "proc/1/cgroup": "0::/\n"}, Is(false), Is(true)},
		{"as captured", map[string]string{SnapshotFile: `{"docker":{"reachable":true,"outside":false,"desktop":false}}`, ".dockerenv": ""}, Is(false), Is(false)},
		{"no engine", map[string]string{SnapshotFile: `{"docker":{"reachable":false}}`, ".dockerenv": ""}, Known[bool]{}, Known[bool]{}},
	} {
		dir := t.TempDir()
		for path, content := range c.files {
			write(t, dir, path, content)
		}
		if d := Collect(t.Context(), load(t, dir)).Docker; d.Outside != c.outside || d.Desktop != c.desktop {
			t.Errorf("%s: %+v", c.name, d)
		}
	}
}

func TestEngineClusters(t *testing.T) {
	socket := fakeEngine(t, map[string]string{
		`/containers/json{"label":["app=k3d"]}`: k3dNodes, "/containers/json": "[]", "/version": dockerVersion, "/info": dockerInfo,
	})
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	r := &recorder{files: map[string][]byte{}, seen: map[string]bool{}}
	containers, known, err := readContainerNodes(t.Context(), &System{record: r})
	if err != nil || !known || len(containers) != 4 {
		t.Fatalf("%v, %v, %v", containers, known, err)
	}
	if containers[0].APIPort != 0 || containers[1].APIPort != 6550 {
		t.Errorf("the port of the API: %+v", containers)
	}
	if _, ok := containers[0].Labels["k3d.cluster.token"]; ok || len(r.containers) != 4 {
		t.Error("a label that nobody needs is kept, or nothing")
	}
	got := engineKinds()[0].find(load(t, t.TempDir()), containers, true)
	want := []Cluster{
		{Name: "k3d", Cluster: "dev", State: Running, Role: "server", Ours: Is(false), Port: 6550, Evidence: []string{"container k3d-dev-server-0", "container k3d-dev-serverlb"}},
		{Name: "k3d", Cluster: "old", State: Stopped, Role: "server", Ours: Is(false), Evidence: []string{"container k3d-old-serverlb", "container k3d-old-server-0"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEngineClustersOfCapture(t *testing.T) {
	node := func(labels string) string {
		return `{"containers":[{"name":"n","state":"running","labels":{` + labels + `}}],"processes":[]}`
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"kind", map[string]string{SnapshotFile: node(`"io.x-k8s.kind.cluster":"test","io.x-k8s.kind.role":"control-plane"`)}, "kind test running"},
		{"minikube", map[string]string{SnapshotFile: node(`"created_by.minikube.sigs.k8s.io":"true","name.minikube.sigs.k8s.io":"minikube"`)}, "minikube minikube running"},
		{"half-made", map[string]string{SnapshotFile: `{"containers":[{"name":"n","state":"created","labels":{"k3d.cluster":"a","k3d.role":"server"}},{"name":"b","state":"running","labels":{"k3d.cluster":"a","k3d.role":"loadbalancer"}}],"processes":[]}`}, "k3d a unfinished"},
		{"nothing but a balancer", map[string]string{SnapshotFile: node(`"k3d.cluster":"a","k3d.role":"loadbalancer"`)}, "k3d a unfinished"},
		{"one of three servers never ran", map[string]string{SnapshotFile: `{"containers":[{"name":"n","state":"exited","labels":{"k3d.cluster":"a","k3d.role":"server"}},{"name":"b","state":"created","labels":{"k3d.cluster":"a","k3d.role":"server"}}],"processes":[]}`}, "k3d a stopped"},
		{"ours", map[string]string{SnapshotFile: node(`"k3d.cluster":"pipeops","k3d.role":"server"`), LedgerFile[1:]: `{"op":"change","id":1,"target":"k3d/pipeops"}`}, "k3d pipeops running ours"},
		{"ours is another", map[string]string{SnapshotFile: node(`"k3d.cluster":"pipeops","k3d.role":"server"`), LedgerFile[1:]: `{"op":"change","id":1,"target":"kind/pipeops"}`}, "k3d pipeops running"},
		{"ours, undone", map[string]string{SnapshotFile: node(`"k3d.cluster":"pipeops","k3d.role":"server"`), LedgerFile[1:]: "{\"op\":\"change\",\"id\":1,\"target\":\"k3d/pipeops\"}\n{\"op\":\"undone\",\"id\":1}"}, "k3d pipeops running"},
		{"name that is none", map[string]string{SnapshotFile: node(`"k3d.cluster":"../x","k3d.role":"server"`)}, ""},
		{"engine without it", map[string]string{SnapshotFile: `{"containers":[],"processes":[]}`, "root/.config/k3d/kubeconfig-dev.yaml": ""}, "k3d dev debris"},
		{"engine that does not answer", map[string]string{SnapshotFile: `{"processes":[]}`, "root/.config/k3d/kubeconfig-dev.yaml": ""}, "k3d dev stopped"},
		{"no engine", map[string]string{SnapshotFile: `{"processes":[],"commands":{}}`, "root/.config/k3d/kubeconfig-dev.yaml": ""}, "k3d dev debris"},
		{"minikube in a virtual machine", map[string]string{SnapshotFile: `{"containers":[],"processes":[]}`, "home/joe/.minikube/profiles/vm/config.json": `{"Driver":"kvm2"}`}, "minikube vm unknown"},
		{"minikube's remains", map[string]string{SnapshotFile: `{"containers":[],"processes":[]}`, "home/joe/.minikube/profiles/minikube/config.json": `{"Driver":"docker"}`}, "minikube minikube debris"},
		{"downloads only", map[string]string{SnapshotFile: `{"containers":[],"processes":[]}`, "root/.minikube/cache/x": ""}, ""},
	} {
		dir := t.TempDir()
		for path, content := range c.files {
			write(t, dir, path, content)
		}
		var got []string
		for _, k := range Collect(t.Context(), load(t, dir)).Clusters {
			text := k.Name + " " + k.Cluster + " " + string(k.State)
			if k.Ours.Value {
				text += " ours"
			}
			got = append(got, text)
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s: %q, want %q", c.name, s, c.want)
		}
	}
}

// kubeconfig writes one whose second context leads to a server.
func kubeconfig(context, server string) string {
	return `apiVersion: v1
kind: Config
current-context: ` + context + `
contexts:
- {name: other, context: {cluster: a, user: u}}
- name: ` + context + `
  context: {cluster: b, user: u}
clusters:
- {name: a, cluster: {server: "https://192.0.2.8:6443"}}
- name: b
  cluster: {server: "` + server + `", certificate-authority-data: Zm9v}
users:
- name: u
  user: {token: s3cret}
`
}

func TestKubeconfigCluster(t *testing.T) {
	const k3s = "var/lib/rancher/k3s/server/token"
	for _, c := range []struct {
		name, context, server, host string
		files                       []string
		want                        string
	}{
		{"EKS", "arn:aws:eks:eu-west-1:1:cluster/x", "https://ABC.gr7.eu-west-1.eks.amazonaws.com", `{"processes":[]}`, nil, "kubeconfig remote eks"},
		{"GKE", "gke_p_z_n", "https://34.1.2.3", `{"processes":[]}`, nil, "kubeconfig remote gke"},
		{"private", "x", "https://10.1.2.3:6443", `{"processes":[]}`, nil, "kubeconfig remote private"},
		{"local", "x", "https://127.0.0.1:36443", `{"processes":[],"listening":[{"proto":"tcp","port":36443}]}`, nil, "kubeconfig running local"},
		{"own address", "x", "https://10.0.0.5:36443", `{"processes":[],"listening":[{"proto":"tcp","port":36443}],"addresses":{"ipv4":true,"ipv6":false,"node":"10.0.0.5"}}`, nil, "kubeconfig running local"},
		{"left behind", "x", "https://127.0.0.1:36443", `{"processes":[],"listening":[]}`, nil, "kubeconfig gone local"},
		{"k3s here", "default", "https://127.0.0.1:6443", `{"processes":["k3s-server"],"listening":[]}`, []string{k3s}, "k3s running "},
		{"k3s here, and another elsewhere", "x", "https://10.1.2.3:6443", `{"processes":["k3s-server"]}`, []string{k3s}, "k3s running , kubeconfig remote private"},
		{"kind here", "kind-test", "https://10.1.2.3:1", `{"processes":[],"containers":[{"name":"n","state":"running","labels":{"io.x-k8s.kind.cluster":"test","io.x-k8s.kind.role":"control-plane"}}]}`, nil, "kind running "},
		{"nobody knows the ports", "x", "https://127.0.0.1:36443", `{"processes":[]}`, nil, ""},
		{"no TLS", "x", "http://10.1.2.3:8080", `{"processes":[]}`, nil, ""},
	} {
		dir := t.TempDir()
		write(t, dir, SnapshotFile, c.host)
		content := kubeconfig(c.context, c.server)
		write(t, dir, "root/.kube/config", content)
		for _, path := range c.files {
			write(t, dir, path, "")
		}
		list := func() string {
			var got []string
			for _, k := range Collect(t.Context(), load(t, dir)).Clusters {
				got = append(got, k.Name+" "+string(k.State)+" "+k.Server)
			}
			return strings.Join(got, ", ")
		}
		if got := list(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		less := string(redact("/root"+kubeconfigPath, []byte(content)))
		for _, secret := range []string{"s3cret", "Zm9v", "arn:", "34.1.2.3", "192.0.2.8", "gke_p", "abc"} {
			if strings.Contains(strings.ToLower(less), strings.ToLower(secret)) {
				t.Errorf("%s: the capture holds %s", c.name, secret)
			}
		}
		write(t, dir, "root/.kube/config", less)
		if got := list(); got != c.want {
			t.Errorf("%s: replayed %q, want %q", c.name, got, c.want)
		}
	}
}

// TestKubeconfigOfUser: without root's rights the file is that of a user, on macOS too.
func TestKubeconfigOfUser(t *testing.T) {
	for uid, want := range map[string]int{"0": 0, "501": 1} {
		dir := t.TempDir()
		write(t, dir, SnapshotFile, `{"processes":[],"uid":`+uid+`,"listening":[{"proto":"tcp","port":6443,"owner":"com.docker.backend"}]}`)
		write(t, dir, "Users/dev/.kube/config", kubeconfig("docker-desktop", "https://127.0.0.1:6443"))
		if got := Collect(t.Context(), load(t, dir)).Clusters; len(got) != want {
			t.Errorf("uid %s: %+v", uid, got)
		}
	}
}

func TestRuntimesAndNeighbours(t *testing.T) {
	for _, c := range []struct {
		name, host           string
		files                []string
		runtimes, neighbours string
	}{
		{"nothing known", `{}`, nil, "unknown", "unknown"},
		{"nothing", `{"processes":[]}`, nil, "", ""},
		{"containerd of k3s", `{"processes":["containerd","k3s-server"]}`, nil, "", ""},
		{"docker", `{"processes":["containerd","dockerd"]}`, []string{"usr/bin/dockerd", "run/docker.sock", "usr/bin/containerd", "run/containerd/containerd.sock"}, "containerd running, docker running", ""},
		{"docker, stopped", `{"processes":[]}`, []string{"usr/lib/systemd/system/docker.service", "var/lib/docker/image/x"}, "docker stopped", ""},
		{"docker's remains", `{"processes":[]}`, []string{"var/lib/docker/image/x"}, "docker debris", ""},
		{"mounted socket", `{"processes":[]}`, []string{"run/docker.sock"}, "", ""},
		{"unknown programs", `{}`, []string{"usr/bin/podman"}, "podman unknown", "unknown"},
		{"podman", `{"processes":["conmon"]}`, []string{"usr/bin/podman"}, "podman running", ""},
		{"cri-o", `{"processes":["conmon","crio"]}`, []string{"usr/bin/podman", "usr/bin/crio"}, "podman stopped, cri-o running", ""},
		{"panel with its web server", `{"processes":[],"listening":[{"proto":"tcp","port":80,"owner":"httpd"},{"proto":"tcp","port":443,"owner":"httpd"}]}`, []string{"usr/local/cpanel/version"}, "", "panel cpanel, web httpd"},
		{"unknown web server", `{"listening":[{"proto":"tcp","port":443,"owner":""}]}`, nil, "", "web unknown"},
		{"k3s serves the web", `{"listening":[{"proto":"tcp","port":443,"owner":"k3s-server"}]}`, nil, "", ""},
		{"swarm", `{"processes":[]}`, []string{"var/lib/docker/swarm/docker-state.json"}, "docker debris", "swarm docker swarm"},
		{"RHEL in a cloud", `{"processes":["NetworkManager"]}`, []string{"etc/systemd/system/timers.target.wants/nm-cloud-setup.timer"}, "", "network networkmanager, network nm-cloud-setup"},
	} {
		dir := t.TempDir()
		write(t, dir, SnapshotFile, c.host)
		for _, path := range c.files {
			write(t, dir, path, "")
		}
		f := Collect(t.Context(), load(t, dir))
		runtimes, neighbours := "unknown", "unknown"
		if f.Runtimes != nil {
			var all []string
			for _, r := range f.Runtimes {
				all = append(all, r.Name+" "+string(r.State))
			}
			runtimes = strings.Join(all, ", ")
		}
		if f.Neighbours != nil {
			var all []string
			for _, n := range f.Neighbours {
				all = append(all, n.Kind+" "+n.Name)
			}
			neighbours = strings.Join(all, ", ")
		}
		if runtimes != c.runtimes || neighbours != c.neighbours {
			t.Errorf("%s: runtimes %q, neighbours %q", c.name, runtimes, neighbours)
		}
	}
}

// TestKubeconfigInAHomeOfAnother wants root to be led nowhere by a file that another user can write: whose cluster it is says its owner.
func TestKubeconfigInAHomeOfAnother(t *testing.T) {
	for _, c := range []struct {
		name, uid, home, want string
	}{
		{"root's own", "0", "root", "/root/.config/k3d/kubeconfig-dev.yaml"},
		{"of a user, for root", "0", "home/mallory", ""},
		{"of a user, for users", "1000", "home/joe", "/home/joe/.config/k3d/kubeconfig-dev.yaml"},
	} {
		dir := t.TempDir()
		write(t, dir, SnapshotFile, `{"uid":`+c.uid+`,"processes":[],"containers":[{"name":"k3d-dev-server-0","labels":{"k3d.cluster":"dev","k3d.role":"server"},"state":"running"}]}`)
		write(t, dir, c.home+"/.config/k3d/kubeconfig-dev.yaml", kubeconfig("k3d-dev", "https://evil.example.com"))
		all := Collect(t.Context(), load(t, dir)).Clusters
		if len(all) != 1 || all[0].Kubeconfig != c.want {
			t.Errorf("%s: %+v, want %q", c.name, all, c.want)
		}
	}
}
