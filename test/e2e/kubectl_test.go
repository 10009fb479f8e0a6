//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/test/lab"
)

// scripts is the folder of what is asked, from the root of the checkout.
const scripts = "test/e2e/kubectl"

// way is one of the two by which a kubectl reaches the cluster: through the gateway, and the API server itself as the same user.
type way struct {
	ns         string // a namespace of its own
	kubeconfig string
	dir        string // a copy of objects/, and HOME below it
	bin        string // first in PATH: the kubectl
	node       string
}

// line is a command of a batch.
type line struct {
	number int
	code   int // that it must exit with
	text   string
}

var codeForm = regexp.MustCompile(`^\[(\d+)\] `)

// batch reads the lines of a file.
func batch(t *testing.T, file string) []line {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(scripts, file))
	if err != nil {
		t.Fatal(err)
	}
	var all []line
	for i, text := range strings.Split(string(raw), "\n") {
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		l := line{number: i + 1, text: text}
		if m := codeForm.FindStringSubmatch(text); m != nil {
			l.code, _ = strconv.Atoi(m[1])
			l.text = text[len(m[0]):]
		}
		all = append(all, l)
	}
	return all
}

// differences lists what cannot be the same for two clients at two moments in two namespaces. What stands in a table loses its padding,
// too, since the width of a column follows from its longest value.
func differences() []struct{ what, pattern, becomes string } {
	return []struct{ what, pattern, becomes string }{
		{"server URL", `https://[0-9.]+:\d+(/v1/clusters/[a-z]+)?`, "SERVER"},
		{"own namespace", `\bside-[ab]\b`, "side-x"},
		{"uid", `\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`, "UID"},
		{"resourceVersion", `(resourceVersion"?: ?"?)\d+`, "${1}RV"},
		{"continue token and version of a bookmark", `("(continue|resourceVersion)":")[^"]+`, "${1}RV"},
		{"time", `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`, "TIME"},
		{"time of describe and HTTP", `(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d (\+0000|GMT)`, "TIME"},
		{"random suffix of a pod", `(-[a-z0-9]{8,10})-[bcdfghjklmnpqrstvwxz2456789]{5}\b`, "$1-RANDOM"},
		{"age in a table or an event", `\b(\d+[dhms]){1,2}\b *`, "AGE "},
		{"head of the column of ages", `\b(AGE|Age|LAST SEEN) +`, "$1 "},
		{"rule below it", `( |^)-{3,4} +`, "$1---- "},
		{"local port", `(127\.0\.0\.1|\[::1\]):\d+`, "$1:PORT"},
		{"local port", `(Handling connection for |error occurred forwarding |localPort=)\d+`, "${1}PORT"},
		{"id of a sandbox or an exec", `\b[0-9a-f]{64}\b`, "ID"},
		{"hash that the API server gives two values in turn", `(/openapi/v3/[^"?]+\?hash=)[0-9A-F]+`, "${1}HASH"},
		{"header of the gateway", `^Pipeops-Limit: .*\n`, ""},
		{"what kubectl says when it has held itself back for a second", `^[IW]\d{4} .*client-side throttling.*\n`, ""},
		{"klog's time and pid", `\b[EIW]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ `, "KLOG "},
		{"what kubectl says of output that comes as it ends, by either way", `KLOG websocket\.go:\d+\] Unknown stream id 1, discarding message\n`, ""},
	}
}

func normalised(text string) string {
	for _, d := range differences() {
		text = regexp.MustCompile(`(?m)`+d.pattern).ReplaceAllString(text, d.becomes)
	}
	return text
}

// run runs a line of shell on this side and returns all that it says. What it leaves in the background is killed.
func (w way) run(ctx context.Context, prelude string, l line) (code int, said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", prelude+"\n"+l.text)
	cmd.Dir = w.dir
	cmd.Env = []string{
		"PATH=" + w.bin + ":" + os.Getenv("PATH"), "HOME=" + filepath.Join(w.dir, "home"), "KUBECONFIG=" + w.kubeconfig, "NS=" + w.ns, "NODE=" + w.node,
		"LANG=C.UTF-8", "TERM=dumb", "TMPDIR=" + filepath.Join(w.dir, "home"),
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		return 0, "", err
	}
	err = cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if ctx.Err() != nil {
		return 0, "", fmt.Errorf("%w: %s%s", ctx.Err(), stdout.String(), stderr.String())
	}
	return cmd.ProcessState.ExitCode(), fmt.Sprintf("%sexit code %d\n%s", stdout.String(), cmd.ProcessState.ExitCode(), stderr.String()), nil
}

// pair are the two ways and what their lines begin with.
type pair struct {
	gateway, direct way
	prelude         string
	foreign         bool // the kubectl is none that the exit codes of the batches are of: it need only say the same
}

// compare runs a line by both ways at the same time, and returns "" if they say the same and exit as they should.
func (b pair) compare(ctx context.Context, l line) string {
	var said [2]string
	var codes [2]int
	var errs [2]error
	var all sync.WaitGroup
	for i, w := range []way{b.gateway, b.direct} {
		all.Go(func() { codes[i], said[i], errs[i] = w.run(ctx, b.prelude, l) })
	}
	all.Wait()
	for i, way := range []string{"through the gateway", "directly"} {
		if errs[i] != nil {
			return fmt.Sprintf("%s: %v", way, errs[i])
		}
		if codes[i] != l.code && !b.foreign {
			return fmt.Sprintf("%s: exit code %d, want %d:\n%s", way, codes[i], l.code, short(said[i]))
		}
	}
	return short(cmp.Diff(normalised(said[1]), normalised(said[0])))
}

func short(text string) string { return text[:min(len(text), 4000)] }

// both makes the two ways by which a kubectl, the program at path, reaches the cluster of the machine.
func (w *world) both(t *testing.T, m *lab.Machine, cluster, path string) pair {
	t.Helper()
	dir := t.TempDir()
	admin, err := os.ReadFile(filepath.Join(m.Root(), "etc/rancher/k3s/k3s.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	direct := strings.NewReplacer("https://127.0.0.1:6443", "https://"+m.IP()+":6443", "  user:\n", "  user:\n    as: pipeops:admin\n    as-groups: [pipeops:admins]\n").Replace(string(admin))
	if direct == string(admin) {
		t.Fatalf("this is no kubeconfig of k3s:\n%s", admin)
	}
	prelude, err := os.ReadFile(filepath.Join(scripts, "prelude.sh"))
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, filepath.Join(bin, "kubectl")); err != nil {
		t.Fatal(err)
	}
	newWay := func(ns, kubeconfig string) way {
		v := way{ns: ns, kubeconfig: filepath.Join(dir, ns+".kubeconfig"), dir: filepath.Join(dir, ns), bin: bin, node: m.Name}
		if err := os.WriteFile(v.kubeconfig, []byte(kubeconfig), 0o600); err != nil {
			t.Fatal(err)
		}
		output(t, exec.CommandContext(t.Context(), "cp", "-r", filepath.Join(scripts, "objects"), v.dir))
		output(t, exec.CommandContext(t.Context(), "sh", "-c", `mkdir "$0/home" && sed -i "s/side-x/$1/" "$0"/*.yaml`, v.dir, ns))
		return v
	}
	b := pair{gateway: newWay("side-a", command(t, w.Gateway, "kubeconfig", cluster)), direct: newWay("side-b", direct), prelude: string(prelude)}
	own, err := os.ReadFile(filepath.Join(scripts, "own.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	fixture, err := os.ReadFile(filepath.Join(scripts, "fixture.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	apply := exec.CommandContext(t.Context(), path, "--kubeconfig", b.direct.kubeconfig, "apply", "-f", "-")
	apply.Stdin = strings.NewReader(string(fixture) + "---\n" + strings.ReplaceAll(string(own), "side-x", "side-a") + "---\n" + strings.ReplaceAll(string(own), "side-x", "side-b"))
	output(t, apply)
	shell(t, m, `k3s kubectl -n fixed wait --for=jsonpath='{.status.containerStatuses[0].restartCount}'=1 pod/again --timeout=60s &&
for ns in fixed side-a side-b; do k3s kubectl -n $ns wait --for=condition=Ready pod/box --timeout=60s; done &&
timeout 60 sh -c 'until k3s kubectl get --raw /api/v1/namespaces/fixed/services/web:http/proxy/; do sleep 0.2; done' &&
k3s kubectl wait --for=condition=Established crd/widgets.conformance.example.com && k3s kubectl wait --for=condition=Available apiservice/v1beta1.metrics.k8s.io --timeout=90s`)
	return b
}

// TestKubectls compares the kubectls that E2E_KUBECTL names, as PATH does. The one that is called kubectl must also exit as the batches say.
func TestKubectls(t *testing.T) {
	programs := filepath.SplitList(os.Getenv("E2E_KUBECTL"))
	if len(programs) == 0 {
		t.Skip("make e2e-kubectl runs it")
	}
	w := newWorld(t)
	m := w.machine(t, lab.Options{})
	w.withAgent(t, m)
	token(t, w.Gateway, m)
	result, err := m.Exec(t.Context(), nil, w.install("shop")...)
	if err != nil || result.Code != 0 {
		t.Fatalf("install: %v, exit code %d\n%s", err, result.Code, result.Told())
	}
	for _, program := range programs {
		t.Run(filepath.Base(program), func(t *testing.T) {
			path, err := exec.LookPath(program)
			if err == nil {
				path, err = filepath.Abs(path)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Log(strings.TrimSpace(output(t, exec.CommandContext(t.Context(), path, "version", "--client", "-o", "yaml"))))
			b := w.both(t, m, "shop", path)
			b.foreign = program != "kubectl"
			sameBothWays(t, b)
			t.Run("port-forward", func(t *testing.T) { forwardOutlivesConnections(t, b.gateway) })
			if !b.foreign {
				t.Run("header forms", func(t *testing.T) { whoFormsAre(t, b.gateway) })
				t.Run("policy", func(t *testing.T) { policyIsTold(t, m, b.gateway) })
				t.Run("cut", func(t *testing.T) { cutIsTold(t, m, b.gateway) })
			}
			shell(t, m, "k3s kubectl delete ns/fixed ns/side-a ns/side-b crd/widgets.conformance.example.com")
		})
	}
}

// sameBothWays: what kubectl says through the gateway is what it says to the API server, byte for byte but for differences().
func sameBothWays(t *testing.T, b pair) {
	began, lines := time.Now(), 0
	judge := func(t *testing.T, file string, l line, repeat int) {
		t.Helper()
		said := ""
		for range repeat {
			if said = b.compare(t.Context(), l); said == "" {
				return
			}
		}
		t.Errorf("%s:%d: %s\n%s", file, l.number, l.text, said)
	}
	var all sync.WaitGroup
	reads := make(chan line)
	for range 3 {
		all.Go(func() {
			for l := range reads {
				judge(t, "reads.txt", l, 3) // the cluster itself may change between two looks
			}
		})
	}
	for _, file := range []string{"writes.txt", "streams.txt", "bulk.txt"} {
		list := batch(t, file)
		lines += len(list)
		all.Go(func() {
			for _, l := range list {
				judge(t, file, l, 1)
			}
		})
	}
	list := batch(t, "reads.txt")
	lines += len(list)
	for _, l := range list {
		reads <- l
	}
	close(reads)
	all.Wait()
	t.Logf("%d lines by both ways in %v", lines, time.Since(began).Round(time.Second))
	if lines < 200 {
		t.Errorf("only %d lines", lines)
	}
}
