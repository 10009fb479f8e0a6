//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// greeting is what the sample project's page says.
const greeting = "end-to-end"

// install returns the command line of an install in the machine, with the token in its file.
func (w *world) install(cluster string, more ...string) []string {
	argv := append([]string{"env"}, w.Environment(cluster)...)
	return append(append(argv, "pipeops-agent", "install"), more...)
}

// TestFromPackageToPage goes the whole way once, by the .deb: a pristine machine, k3s, the tunnel, a stock kubectl at the
// far end, a project that answers; then a second install, and the search for the token.
func TestFromPackageToPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.machine(t, lab.Options{})
	if err := w.PushSample(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	secret := token(t, w.Gateway, m)
	packages, err := filepath.Glob(filepath.Join(rig.Dist, "*_"+rig.Arch()+".deb"))
	if err != nil || len(packages) != 1 {
		t.Fatalf("packages %v, %v", packages, err)
	}
	if err := m.Push(t.Context(), packages[0], "/root/agent.deb"); err != nil {
		t.Fatal(err)
	}
	shell(t, m, "dpkg -i /root/agent.deb")
	shell(t, m, "test $(systemctl is-active pipeops-agent || true) = inactive") // not configured: not started

	install := w.install("shop", "-o", "json")
	result, err := m.Exec(t.Context(), nil, install...)
	if err != nil || result.Code != 0 {
		t.Fatalf("install: %v, exit code %d\n%s\n%s", err, result.Code, result.Told(),
			shell(t, m, "journalctl --no-pager -n 60 -u k3s -u pipeops-agent"))
	}
	checkEvents(t, result.Stdout)
	if clusters := command(t, w.Gateway, "clusters"); !strings.Contains(clusters, "shop") {
		t.Errorf("the gateway shows no cluster shop:\n%s", clusters)
	}
	shell(t, m, "pipeops-agent status")

	withinBudget(t, m)

	kubectl := w.kubectlFor(t, "shop")
	w.deploy(t, m, "shop")
	t.Run("kubectl", func(t *testing.T) { stockKubectl(t, kubectl) })
	t.Run("connect", func(t *testing.T) { w.connections(t, "shop") })
	t.Run("large", func(t *testing.T) { w.largeGoesAside(t, kubectl) })
	t.Run("second install", func(t *testing.T) { secondInstall(t, m, install) })
	t.Run("no trace of the token", func(t *testing.T) { tokenIsNowhere(t, m, secret) })
	t.Run("reboot", func(t *testing.T) { survivesReboot(t, w, m) })
}

// The most that the agent may take: of disk in bytes, stripped, and of memory in bytes, idle with an enrolled cluster.
const (
	mostDisk   = 45_000_000
	mostMemory = 40 << 20
)

// withinBudget wants the agent to be small, and prints how small it is.
func withinBudget(t *testing.T, m *lab.Machine) {
	t.Helper()
	status, err := agentStatus(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	size, err := strconv.ParseInt(shell(t, m, "stat -c %s /usr/bin/pipeops-agent"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the agent takes %.1f MB of disk and %.1f MiB of memory", float64(size)/1e6, float64(status.RSS)/(1<<20))
	if size > mostDisk || status.RSS > mostMemory {
		t.Errorf("more than %d or %d bytes", mostDisk, mostMemory)
	}
}

// checkEvents wants lines of JSON in which every step that started has ended well, and a decision.
func checkEvents(t *testing.T, lines string) {
	t.Helper()
	open := map[string]bool{}
	kinds := map[string]int{}
	for line := range strings.Lines(lines) {
		var e wire.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q is no event: %v", line, err)
		}
		kinds[e.Kind]++
		switch e.State {
		case "started":
			open[e.Step] = true
		case "done":
			delete(open, e.Step)
		case "failed", "rolled-back":
			t.Errorf("step %s: %s", e.Step, e.State)
		}
	}
	if len(open) > 0 {
		t.Errorf("steps that did not end: %v", open)
	}
	for _, kind := range []string{"facts", "decision", "enrolled", "step", "done"} {
		if kinds[kind] == 0 {
			t.Errorf("no event of kind %s in %v", kind, kinds)
		}
	}
}

// deploy applies the sample project and waits for its page.
func (w *world) deploy(t *testing.T, m *lab.Machine, cluster string) {
	t.Helper()
	if _, err := w.Deploy(t.Context(), cluster, "web", greeting, 2*time.Minute); err != nil {
		t.Fatalf("%v\n%s", err, shell(t, m, "k3s kubectl get pods -A; journalctl --no-pager -n 40 -u pipeops-agent"))
	}
}

// pageAgain wants the page of the sample project back, by itself.
func (w *world) pageAgain(t *testing.T, cluster string) {
	t.Helper()
	eventually(t, 90*time.Second, "the page again", func(ctx context.Context) error {
		page, err := w.Gateway.Run(ctx, "project", "open", "web", "--cluster", cluster)
		if err == nil && !strings.Contains(page, greeting) {
			err = errors.New(page)
		}
		return err
	})
}

// stockKubectl does through the tunnel what people do with kubectl.
func stockKubectl(t *testing.T, kubectl func(...string) *exec.Cmd) {
	pod := strings.TrimSpace(output(t, kubectl("-n", "project-web", "get", "pods", "-o", "name")))
	if nodes := output(t, kubectl("get", "nodes")); !strings.Contains(nodes, " Ready ") {
		t.Errorf("nodes:\n%s", nodes)
	}
	if who := output(t, kubectl("auth", "whoami", "-o", "yaml")); !strings.Contains(who, "username: pipeops:") || strings.Contains(who, "system:masters") {
		t.Errorf("the user is\n%s", who)
	}
	if out := output(t, kubectl("-n", "project-web", "exec", pod, "--", "/web", "-version")); !strings.Contains(out, "sample web") {
		t.Errorf("exec says %q", out)
	}
	t.Run("exec -it", func(t *testing.T) { interactive(t, kubectl, pod) })
	t.Run("logs -f", func(t *testing.T) { follow(t, kubectl("-n", "project-web", "logs", "-f", pod), "listening") })
	t.Run("get -w", func(t *testing.T) {
		watch := kubectl("get", "configmaps", "-n", "project-web", "-w", "-o", "name")
		follow(t, watch, "configmap/kube-root-ca.crt")
	})
	t.Run("port-forward", func(t *testing.T) { portForward(t, kubectl, pod) })
	t.Run("cp", func(t *testing.T) { copyBothWays(t, kubectl) })
}

// interactive runs a program with a terminal at both ends, by way of script(1), and types into it.
func interactive(t *testing.T, kubectl func(...string) *exec.Cmd, pod string) {
	inner := kubectl("-n", "project-web", "exec", "-it", pod, "--", "/web", "-echo")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, "script", "-qec", strings.Join(inner.Args, " "), "/dev/null")
	command.Env = inner.Env
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdin.Write([]byte("typed by hand\n")); err != nil {
		t.Fatal(err)
	}
	err = command.Wait() // -echo ends after one line
	if err != nil || !strings.Contains(out.String(), "echo: typed by hand") {
		t.Errorf("%v: %q", err, out.String())
	}
}

// follow starts an endless command, waits until it has printed the text, and ends it.
func follow(t *testing.T, command *exec.Cmd, text string) {
	t.Helper()
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(30*time.Second, func() { _ = command.Process.Kill() })
	defer timer.Stop()
	seen := false
	var all strings.Builder
	for lines := bufio.NewScanner(stdout); !seen && lines.Scan(); {
		all.WriteString(lines.Text() + "\n")
		seen = strings.Contains(lines.Text(), text)
	}
	_ = command.Process.Signal(syscall.SIGINT)
	_ = command.Wait()
	if !seen {
		t.Errorf("%q was not printed:\n%s", text, all.String())
	}
}

func portForward(t *testing.T, kubectl func(...string) *exec.Cmd, pod string) {
	command := kubectl("-n", "project-web", "port-forward", pod, ":8080")
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = command.Wait() }()
	defer func() { _ = command.Process.Signal(syscall.SIGINT) }()
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() {
		t.Fatal("port-forward printed nothing")
	}
	fields := strings.Fields(lines.Text()) // Forwarding from 127.0.0.1:34567 -> 8080
	page := output(t, exec.CommandContext(t.Context(), "curl", "-fsS", "--max-time", "20", "http://"+fields[2]+"/"))
	if !strings.Contains(page, greeting) {
		t.Errorf("the page says %q", page)
	}
}

// copyBothWays uses the busybox image of the k3s release, since cp needs tar in the container.
func copyBothWays(t *testing.T, kubectl func(...string) *exec.Cmd) {
	const image = "docker.io/rancher/mirrored-library-busybox:1.36.1"
	output(t, kubectl("-n", "project-web", "run", "box", "--image", image, "--image-pull-policy", "Never", "--command", "--", "sleep", "600"))
	output(t, kubectl("-n", "project-web", "wait", "--for=condition=Ready", "pod/box", "--timeout=60s"))
	dir := t.TempDir()
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
	if err := os.WriteFile(filepath.Join(dir, "there"), want, 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, kubectl("-n", "project-web", "cp", filepath.Join(dir, "there"), "box:/tmp/file"))
	output(t, kubectl("-n", "project-web", "cp", "box:/tmp/file", filepath.Join(dir, "back")))
	got, err := os.ReadFile(filepath.Join(dir, "back"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back of %d: %v", len(got), len(want), err)
	}
}

// secondInstall runs the same install again, without the token: it must change nothing, and say so.
func secondInstall(t *testing.T, m *lab.Machine, install []string) {
	shell(t, m, "rm "+rig.TokenFile)
	const tree = `find /etc /usr/local /var/lib/pipeops-agent/identity /usr/lib/systemd -type f | sort | xargs sha256sum; systemctl show -p MainPID k3s pipeops-agent`
	before := shell(t, m, tree)
	result, err := m.Exec(t.Context(), nil, install[:len(install)-2]...) // without -o json
	if err != nil || result.Code != 0 {
		t.Fatalf("%v, exit code %d\n%s", err, result.Code, result.Told())
	}
	if !strings.Contains(result.Stdout+result.Stderr, "Nothing to change") {
		t.Errorf("it does not say that nothing was changed:\n%s", result.Told())
	}
	if after := shell(t, m, tree); before != after {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// tokenIsNowhere greps what others than root could see, and what stays.
func tokenIsNowhere(t *testing.T, m *lab.Machine, token string) {
	secret := strings.Split(token, ".")[1]
	script := fmt.Sprintf(`set -u
found=
pattern=%q
journalctl --no-pager -a | grep -qF -- "$pattern" && found="$found journal"
cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' ' | sed "s/grep -[a-z]*F.*//" | grep -v pattern= | grep -qF -- "$pattern" && found="$found argv"
grep -rqFs -- "$pattern" /etc /usr/lib/systemd /run/systemd /var/log /var/lib/pipeops-agent /root /tmp /home && found="$found files"
echo "found:$found"`, secret)
	out, err := m.Exec(t.Context(), strings.NewReader(script), "sh", "-s")
	if err != nil || strings.TrimSpace(out.Stdout) != "found:" {
		t.Errorf("%v: %s%s", err, out.Stdout, out.Stderr)
	}
}

// survivesReboot wants the page back after an orderly reboot.
func survivesReboot(t *testing.T, w *world, m *lab.Machine) {
	if err := m.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.pageAgain(t, "shop")
}
