package distro

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// The exit codes of minikube that the stand-in ends with, by its page of error codes (contrib/errorcodes: class * 10 + kind), and
// the bits of those of its status.
const (
	exProgramUsage       = 14
	exProgramNotFound    = 15
	exDriverUnsupported  = 56
	exDriverPermission   = 57
	exProviderNotRunning = 69
	exGuestError         = 80
	exGuestNotFound      = 85
	exGuestUnsupported   = 86

	statusHost, statusCluster, statusKubernetes = 1, 2, 4
)

// minikubeError is an end of the stand-in with an error: "X Exiting due to DRV_AS_ROOT: ...".
type minikubeError struct {
	code   int
	reason string
	text   string
}

func (e *minikubeError) Error() string {
	return fmt.Sprintf("X Exiting due to %s: %s", e.reason, e.text)
}

// standInMinikubeProgram is a stand-in for the program minikube, as an executable: its documented commands start, status, delete and
// profile, with the docker driver, and start, stop and status with the driver none, their flags as far as they are used here, their output and exit codes. It makes what it makes
// through the socket of DOCKER_HOST, and keeps profiles in MINIKUBE_HOME. What runs in the node is not there.
func standInMinikubeProgram() {
	err := minikubeMain(os.Args[1:])
	var exit *minikubeError
	switch {
	case err == nil:
		os.Exit(0)
	case errors.As(err, &exit) && exit.reason == "": // a status
		os.Exit(exit.code)
	case errors.As(err, &exit):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exit.code)
	}
	fmt.Fprintln(os.Stderr, "X Exiting due to GUEST_PROVISION:", err)
	os.Exit(exGuestError)
}

// minikubeRun is one call.
type minikubeRun struct {
	flags   map[string]string
	profile string
	engine  *http.Client
}

func minikubeMain(args []string) error {
	known := map[string]string{ // flags with a value that stands by itself, and short ones
		"-p": "--profile", "-o": "--output", "-d": "--driver",
	}
	m := minikubeRun{flags: map[string]string{"--profile": "minikube"}}
	var words []string
	for i := 0; i < len(args); i++ {
		name, value, given := strings.Cut(args[i], "=")
		if long, short := known[name]; short {
			name = long
			if !given && i+1 < len(args) {
				i++
				value = args[i]
			}
		}
		if !strings.HasPrefix(name, "-") {
			words = append(words, args[i])
			continue
		}
		if !slices.Contains([]string{
			"--profile", "--output", "--driver", "--container-runtime", "--kubernetes-version", "--base-image", "--listen-address", "--ports", "--interactive",
			"--embed-certs", "--wait", "--auto-update-drivers", "--apiserver-names", "--apiserver-ips", "--extra-config", "--force", "--keep-context", "--all", "--purge",
			"--apiserver-port",
		}, name) {
			return &minikubeError{exProgramUsage, "MK_USAGE", "unknown flag: " + name}
		}
		m.flags[name] = value
	}
	m.profile = m.flags["--profile"]
	socket, found := strings.CutPrefix(os.Getenv("DOCKER_HOST"), "unix://")
	if !found {
		return &minikubeError{exProgramUsage, "MK_USAGE", "the stand-in knows engines by DOCKER_HOST only"}
	}
	m.engine = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	switch none, command := m.none(), strings.Join(words, " "); {
	case none && command == "start":
		return m.startNone()
	case none && command == "stop":
		return m.stopNone()
	case none && command == "status":
		return m.statusNone()
	}
	switch strings.Join(words, " ") {
	case "start":
		return m.start()
	case "status":
		return m.status()
	case "delete":
		return m.delete()
	case "profile list":
		return m.list()
	}
	return &minikubeError{exProgramUsage, "MK_USAGE", fmt.Sprintf("unknown command %q", words)}
}

func (m minikubeRun) dir() string {
	return filepath.Join(os.Getenv("MINIKUBE_HOME"), ".minikube", "profiles", m.profile)
}

// ask asks the engine; a status of 400 and more is an error, 404 is told apart.
func (m minikubeRun) ask(method, path string, body, into any) (found bool, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return false, err
	}
	req, err := http.NewRequestWithContext(context.Background(), method, "http://engine/v1.47"+path, bytes.NewReader(text))
	if err != nil {
		return false, err
	}
	r, err := m.engine.Do(req)
	if err != nil {
		return false, &minikubeError{exProviderNotRunning, "PROVIDER_DOCKER_NOT_RUNNING", `"docker version" exit status 1: Cannot connect to the Docker daemon. Is the docker daemon running?`}
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	switch {
	case err != nil:
		return false, err
	case r.StatusCode == http.StatusNotFound:
		return false, nil
	case r.StatusCode >= http.StatusBadRequest:
		return false, fmt.Errorf("docker: Error response from daemon: %s", answer)
	case into != nil:
		return true, json.Unmarshal(answer, into)
	}
	return true, nil
}

func (m minikubeRun) start() error {
	_, forced := m.flags["--force"]
	switch {
	case m.flags["--driver"] != "docker":
		return &minikubeError{exProgramUsage, "MK_USAGE", "the stand-in has the docker driver only"}
	case os.Getenv("STAND_IN_USER") == "" && !forced:
		fmt.Fprintln(os.Stderr, `* The "docker" driver should not be used with root privileges. If you wish to continue as root, use --force.`)
		return &minikubeError{exDriverPermission, "DRV_AS_ROOT", `The "docker" driver should not be used with root privileges.`}
	}
	if _, err := m.ask(http.MethodGet, "/version", nil, nil); err != nil {
		return err
	}
	if _, err := os.Stat(m.dir()); err != nil {
		if err := m.make(); err != nil {
			return err
		}
	}
	if _, err := m.ask(http.MethodPost, "/containers/"+m.profile+"/start", nil, nil); err != nil {
		return err
	}
	fmt.Printf("* Done! kubectl is now configured to use %q cluster and %q namespace by default\n", m.profile, "default")
	return m.configure()
}

// make makes network and container, and then the profile.
func (m minikubeRun) make() error {
	network := map[string]any{"Name": m.profile, "IPAM": map[string]any{"Config": []map[string]string{{"Subnet": "192.168.49.0/16"}}}}
	if there, err := m.ask(http.MethodGet, "/networks/"+m.profile, nil, nil); err != nil {
		return err
	} else if !there {
		if _, err := m.ask(http.MethodPost, "/networks/create", network, nil); err != nil {
			return err
		}
	}
	bindings := map[string]any{"8443/tcp": []map[string]string{{"HostIp": "127.0.0.1", "HostPort": "0"}}}
	if at := strings.Split(m.flags["--ports"], ":"); len(at) == 3 {
		bindings[at[2]+"/tcp"] = []map[string]string{{"HostIp": at[0], "HostPort": at[1]}}
	}
	image := m.flags["--base-image"]
	made, err := m.ask(http.MethodPost, "/containers/create?name="+m.profile, map[string]any{
		"Image":      image,
		"Labels":     map[string]string{"name.minikube.sigs.k8s.io": m.profile, "created_by.minikube.sigs.k8s.io": "true", "role.minikube.sigs.k8s.io": "", "mode.minikube.sigs.k8s.io": m.profile},
		"HostConfig": map[string]any{"NetworkMode": m.profile, "PortBindings": bindings},
	}, nil)
	if err != nil {
		return err
	}
	if !made {
		return fmt.Errorf("docker: Unable to find image '%s' locally", image)
	}
	if err := os.MkdirAll(m.dir(), 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(m.dir(), "config.json"), fmt.Appendf(nil, "{%q: %q, \"Driver\": \"docker\"}\n", "Name", m.profile), 0o600)
}

// configure writes the kubeconfig to where KUBECONFIG says.
func (m minikubeRun) configure() error {
	current := m.profile
	if _, keep := m.flags["--keep-context"]; keep {
		current = ""
	}
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters:\n- cluster: {server: \"https://127.0.0.1:32769\"}\n  name: %s\ncurrent-context: %q\n", m.profile, current)
	return os.WriteFile(os.Getenv("KUBECONFIG"), []byte(text), 0o600)
}

func (m minikubeRun) notFound() error {
	return &minikubeError{exGuestNotFound, "GUEST_PROFILE_NOT_FOUND", fmt.Sprintf(`Profile %q not found. Run "minikube profile list" to view all profiles.`, m.profile)}
}

// status prints how the profile is, and ends with the bits of what is not well.
func (m minikubeRun) status() error {
	if _, err := os.Stat(m.dir()); err != nil {
		return m.notFound()
	}
	var node struct{ State struct{ Running bool } }
	there, err := m.ask(http.MethodGet, "/containers/"+m.profile+"/json", nil, &node)
	if err != nil {
		return err
	}
	s := struct {
		Name, Host, Kubelet, APIServer, Kubeconfig string
		Worker                                     bool
	}{Name: m.profile, Host: "Running", Kubelet: "Running", APIServer: "Running", Kubeconfig: "Configured"}
	code := 0
	if !there || !node.State.Running {
		s.Host, s.Kubelet, s.APIServer, s.Kubeconfig = "Stopped", "Stopped", "Stopped", "Stopped"
		code = statusHost | statusCluster | statusKubernetes
	}
	if m.flags["--output"] == "json" {
		err = json.NewEncoder(os.Stdout).Encode(s)
	} else {
		_, err = fmt.Printf("%s\ntype: Control Plane\nhost: %s\nkubelet: %s\napiserver: %s\nkubeconfig: %s\n\n", s.Name, s.Host, s.Kubelet, s.APIServer, s.Kubeconfig)
	}
	if err != nil || code == 0 {
		return err
	}
	return &minikubeError{code: code}
}

// delete removes container, network and profile. A profile that is not there is none of its errors.
func (m minikubeRun) delete() error {
	if _, err := os.Stat(m.dir()); err == nil {
		for _, path := range []string{"/containers/" + m.profile, "/networks/" + m.profile} {
			if _, err := m.ask(http.MethodDelete, path, nil, nil); err != nil {
				return err
			}
		}
		if err := os.RemoveAll(m.dir()); err != nil {
			return err
		}
	}
	fmt.Printf("* Removed all traces of the %q cluster.\n", m.profile)
	return nil
}

func (m minikubeRun) list() error {
	entries, err := os.ReadDir(filepath.Dir(m.dir()))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	valid := []map[string]string{}
	for _, e := range entries {
		valid = append(valid, map[string]string{"Name": e.Name()})
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"invalid": []any{}, "valid": valid})
}

// standInRunuser is a stand-in for runuser, which needs no root: what it runs is told whose it is.
func standInRunuser() {
	args := os.Args[1:]
	if len(args) < 4 || args[0] != "--user" || args[2] != "--" || !slices.Contains(standInUsers(), args[1]) {
		fmt.Fprintf(os.Stderr, "runuser: user %q does not exist\n", args)
		os.Exit(1)
	}
	if err := os.Setenv("STAND_IN_USER", args[1]); err != nil {
		panic(err)
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		_ = syscall.Exec(filepath.Join(dir, args[3]), args[3:], os.Environ()) // returns only where there is none
	}
	os.Exit(127)
}

// standInUsers are those that were made.
func standInUsers() []string {
	text, _ := os.ReadFile(os.Getenv("STAND_IN_USERS"))
	return strings.Fields(string(text))
}

// keepUsers notes who is there.
func keepUsers(users []string) {
	if err := os.WriteFile(os.Getenv("STAND_IN_USERS"), []byte(strings.Join(users, "\n")), 0o600); err != nil {
		panic(err)
	}
}

func standInUseradd() { keepUsers(append(standInUsers(), os.Args[len(os.Args)-1])) }

func standInUserdel() {
	keepUsers(slices.DeleteFunc(standInUsers(), func(u string) bool { return u == os.Args[1] }))
}

func standInID() {
	if !slices.Contains(standInUsers(), os.Args[2]) {
		fmt.Fprintf(os.Stderr, "id: '%s': no such user\n", os.Args[2])
		os.Exit(1)
	}
	fmt.Println(os.Args[2], "docker")
}

func standInGetent() { fmt.Println("docker:x:999:") }

// standInInstall makes a folder, without giving it to a user.
func standInInstall() {
	if err := os.MkdirAll(os.Args[len(os.Args)-1], 0o700); err != nil {
		panic(err)
	}
}
