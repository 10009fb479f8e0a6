//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/test/lab"
)

// world is what the tests of a run share: the lab, what is tested, and a mirror of k3s releases.
type world struct {
	lab     *lab.Lab
	dist    string // release folder
	mirror  *lab.Server
	sources string // K3S_RELEASE_DIR
	version string // of k3s
	kubectl string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the tests in machines need root: sudo make e2e")
	}
	w := &world{dist: os.Getenv("PIPEOPS_DIST"), sources: os.Getenv("K3S_RELEASE_DIR"), version: os.Getenv("K3S_VERSION")}
	if w.version == "" {
		w.version = "v1.33.2+k3s1"
	}
	for name, dir := range map[string]string{"PIPEOPS_DIST": w.dist, "K3S_RELEASE_DIR": w.sources} {
		if _, err := os.Stat(dir); err != nil {
			t.Fatalf("%s=%q is no folder: %v", name, dir, err)
		}
	}
	var err error
	if w.kubectl, err = exec.LookPath("kubectl"); err != nil {
		t.Fatal("the tests need a kubectl in PATH")
	}
	if w.lab, err = lab.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.mirror = w.newMirror(t)
	return w
}

// newMirror serves the k3s release as GitHub does.
func (w *world) newMirror(t *testing.T) *lab.Server {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "download", w.version)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	source, err := filepath.Abs(w.sources)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(source, dir); err != nil {
		t.Fatal(err)
	}
	mirror, err := lab.Serve(t.Context(), lab.HostAddress+":0", filepath.Dir(filepath.Dir(dir)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mirror.Close() })
	return mirror
}

// machine boots a pristine machine that has the agent at /usr/local/bin and is taken down with the test.
func (w *world) machine(t *testing.T, opts lab.Options) *lab.Machine {
	t.Helper()
	name := "e2e-" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(strings.TrimPrefix(t.Name(), "Test")))
	m, err := w.lab.Up(t.Context(), name[:min(len(name), 20)], opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("PIPEOPS_E2E_KEEP") != "" {
			t.Logf("machine %s is kept", m.Name)
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := m.Down(ctx); err != nil {
			t.Error(err)
		}
	})
	return m
}

// withAgent puts the agent's program into the machine.
func (w *world) withAgent(t *testing.T, m *lab.Machine) {
	t.Helper()
	if err := m.Push(t.Context(), filepath.Join(w.dist, "pipeops-agent-linux-amd64"), "/usr/local/bin/pipeops-agent"); err != nil {
		t.Fatal(err)
	}
	shell(t, m, "chmod 755 /usr/local/bin/pipeops-agent")
}

// withImages preloads the image of the sample project: no registry can be reached from here.
func (w *world) withImages(t *testing.T, m *lab.Machine) {
	t.Helper()
	if err := m.Push(t.Context(), filepath.Join(w.dist, "..", ".cache", "images", "sample-web.tar"), "/var/lib/rancher/k3s/agent/images/sample-web.tar"); err != nil {
		t.Fatal(err)
	}
}

// gateway is a running pipeops-gateway on this side of the lab's bridge.
type gateway struct {
	w       *world
	program string
	data    string
	address string // host:port, as machines know it
	process *exec.Cmd
	log     *bytes.Buffer
}

func (w *world) newGateway(t *testing.T) *gateway {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", lab.HostAddress+":0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	_ = listener.Close()
	g := &gateway{w: w, program: filepath.Join(w.dist, "pipeops-gateway-linux-amd64"), data: t.TempDir(),
		address: net.JoinHostPort(lab.HostName, port)}
	g.start(t)
	t.Cleanup(func() {
		g.stop(t)
		if t.Failed() {
			t.Logf("log of the gateway:\n%s", g.log.String())
		}
	})
	return g
}

func (g *gateway) start(t *testing.T) {
	t.Helper()
	_, port, _ := net.SplitHostPort(g.address)
	g.log = &bytes.Buffer{}
	g.process = exec.Command(g.program, "serve", "--data", g.data, "--listen", net.JoinHostPort(lab.HostAddress, port),
		"--advertise", lab.HostAddress, "--advertise", lab.HostName)
	g.process.Stdout, g.process.Stderr = g.log, g.log
	if err := g.process.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the gateway answers", func(ctx context.Context) error {
		_, err := g.try(ctx, "clusters")
		return err
	})
}

func (g *gateway) stop(t *testing.T) {
	t.Helper()
	if g.process == nil {
		return
	}
	_ = g.process.Process.Signal(syscall.SIGTERM)
	err := g.process.Wait()
	g.process = nil
	if err != nil {
		t.Errorf("the gateway ended badly: %v", err)
	}
}

// try runs a command of the gateway.
func (g *gateway) try(ctx context.Context, args ...string) (string, error) {
	command := exec.CommandContext(ctx, g.program, append(args, "--data", g.data)...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return stdout.String(), fmt.Errorf("pipeops-gateway %s: %w\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

func (g *gateway) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := g.try(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// token makes a join token and puts it into the machine at /root/token.
func (g *gateway) token(t *testing.T, m *lab.Machine, args ...string) string {
	t.Helper()
	token := strings.TrimSpace(g.run(t, append([]string{"token", "create"}, args...)...))
	if err := m.PushBytes([]byte(token+"\n"), "/root/token", 0o600); err != nil {
		t.Fatal(err)
	}
	return token
}

// kubectl returns a function that runs the stock kubectl on this side, through the gateway.
func (g *gateway) kubectl(t *testing.T, cluster string) func(args ...string) *exec.Cmd {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte(g.run(t, "kubeconfig", cluster)), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(args ...string) *exec.Cmd {
		command := exec.CommandContext(t.Context(), g.w.kubectl, append([]string{"--kubeconfig", path}, args...)...)
		command.Env = append(os.Environ(), "HOME="+t.TempDir())
		return command
	}
}

// output runs a command on this side and wants it to succeed.
func output(t *testing.T, command *exec.Cmd) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(command.Args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

// shell runs a line of shell in the machine and wants it to succeed.
func shell(t *testing.T, m *lab.Machine, script string) string {
	t.Helper()
	out, err := m.Shell(t.Context(), script)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// eventually waits until the condition holds and fails the test with its last error if it does not in time.
func eventually(t *testing.T, limit time.Duration, what string, holds func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var last error
	err := lab.WaitFor(ctx, what, func(ctx context.Context) (bool, error) {
		err := holds(ctx)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			last = err
		}
		return err == nil, nil
	})
	if err != nil {
		t.Fatalf("%v: %v", err, last)
	}
}
