//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// joinLimit is how long a worker may take to join, from the command to its node being proved.
const joinLimit = 30 * time.Second

// spare boots a further machine of a test.
func (w *world) spare(t *testing.T, name string) *lab.Machine {
	t.Helper()
	m, err := w.Lab.Up(t.Context(), "e2e-"+name, lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := m.Down(ctx); err != nil {
			t.Error(err)
		}
	})
	return m
}

// nodeToken makes a token for a machine at the gateway and puts it there; it returns the token.
func nodeToken(t *testing.T, g *rig.Gateway, m *lab.Machine, cluster, role string) string {
	t.Helper()
	var made struct {
		Token string `json:"token"`
	}
	out := command(t, g, "join", cluster, "--role", role, "-o", "json")
	if err := json.Unmarshal([]byte(out), &made); err != nil || !strings.HasPrefix(made.Token, "pjt_") {
		t.Fatalf("%v: %.40q", err, out)
	}
	push(t, m, made.Token+"\n", rig.TokenFile)
	return made.Token
}

// joinLine is a join as a user runs it, with the mirror of the lab.
func (w *world) joinLine(more ...string) []string {
	return append([]string{"env", "PIPEOPS_MIRROR=" + w.Mirror.URL(), "pipeops-agent", "join", "-o", "json",
		"--gateway", w.Gateway.Address, "--token-file", rig.TokenFile}, more...)
}

// joins runs a join and wants it to succeed; it returns the events and how long it took.
func (w *world) joins(t *testing.T, m *lab.Machine, more ...string) ([]wire.Event, time.Duration) {
	t.Helper()
	var events rig.Events
	var stderr strings.Builder
	began := time.Now()
	code, err := m.ExecTo(t.Context(), nil, &events, &stderr, w.joinLine(more...)...)
	took := time.Since(began)
	if err != nil || code != 0 {
		t.Fatalf("join: %v, exit code %d: %s\n%s\n%s", err, code, events.Failure(), stderr.String(),
			shell(t, m, "journalctl --no-pager -n 60 -u k3s -u k3s-agent -u pipeops-agent"))
	}
	for _, s := range events.Steps() {
		if s.DurationMS > 500 {
			t.Logf("%s: %s took %d ms", m.Name, s.Step, s.DurationMS)
		}
	}
	return events.All, took
}

// nodesOf lists the nodes of a cluster by the gateway: role and readiness by name.
func nodesOf(ctx context.Context, g *rig.Gateway, cluster string) (map[string]string, error) {
	out, err := g.Run(ctx, "nodes", cluster, "-o", "json")
	if err != nil {
		return nil, err
	}
	var list []struct {
		Name  string `json:"name"`
		Role  string `json:"role"`
		Ready string `json:"ready"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	all := map[string]string{}
	for _, n := range list {
		role, _, _ := strings.Cut(n.Role, ",") // "server, etcd" is a server
		all[n.Name] = role + " " + n.Ready
	}
	return all, nil
}

// TestJoinWorker: a worker joins a cluster with SQLite in time, its pods are reached from the server, a second join changes
// nothing, its token is nowhere to be seen, status tells what it is, and its uninstall leaves the machine as it was.
func TestJoinWorker(t *testing.T) {
	w := newWorld(t)
	server := w.machine(t, lab.Options{})
	w.withAgent(t, server)
	installed(t, w, server, "shop")
	worker := w.spare(t, "join-w")
	if err := w.PushSample(t.Context(), worker); err != nil {
		t.Fatal(err)
	}
	nodeToken(t, w.Gateway, worker, "shop", "worker")
	before := oracle(t, worker)
	w.withAgent(t, worker)

	_, took := w.joins(t, worker)
	t.Logf("the worker joined in %s", took.Round(time.Millisecond))
	if took > joinLimit {
		t.Errorf("that is more than %s", joinLimit)
	}
	shell(t, worker, "rm "+rig.TokenFile)
	eventually(t, 20*time.Second, "the worker at the gateway", func(ctx context.Context) error {
		all, err := nodesOf(ctx, w.Gateway, "shop")
		if err == nil && (len(all) != 2 || all["e2e-join-w"] != "worker True") {
			err = fmt.Errorf("nodes: %v", all)
		}
		return err
	})
	if again, _ := w.joins(t, worker); !strings.HasPrefix(again[len(again)-1].Message, "Nothing to change: this machine is worker e2e-join-w of cluster shop") {
		t.Errorf("the second join: %s", again[len(again)-1].Message)
	}
	if status := shell(t, worker, "pipeops-agent status"); !strings.Contains(status, "e2e-join-w, a worker") || !strings.Contains(status, ":6443") || strings.Contains(status, "✗") {
		t.Errorf("status:\n%s", status)
	}
	w.acrossNodes(t, server, "e2e-join-w")
	secretsKept(t, worker)

	said := uninstall(t, worker, 0)
	if !strings.Contains(said, "has taken the node e2e-join-w out of cluster shop") {
		t.Error("it does not say that the node is gone")
	}
	all, err := nodesOf(t.Context(), w.Gateway, "shop")
	if err != nil || len(all) != 1 {
		t.Errorf("nodes after the uninstall: %v, %v", all, err)
	}
	asBefore(t, worker, before)
}

// acrossNodes lets a pod land on a node and asks it from another machine, by its own address and by its service.
func (w *world) acrossNodes(t *testing.T, server *lab.Machine, node string) {
	t.Helper()
	manifest := fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"there","labels":{"app":"there"}},"spec":{"nodeName":%q,
"containers":[{"name":"web","image":%q,"imagePullPolicy":"Never","env":[{"name":"GREETING","value":"there"}]}]}}`, node, rig.SampleImage)
	push(t, server, manifest, "/root/pod.json")
	shell(t, server, "k3s kubectl apply -f /root/pod.json && k3s kubectl expose pod there --port 80 --target-port 8080")
	eventually(t, time.Minute, "the pod on "+node, func(ctx context.Context) error {
		_, err := server.Shell(ctx, "k3s kubectl wait --for=condition=Ready pod/there --timeout=5s")
		return err
	})
	for what, address := range map[string]string{"pod": "k3s kubectl get pod there -o jsonpath={.status.podIP}:8080", "service": "k3s kubectl get service there -o jsonpath={.spec.clusterIP}"} {
		eventually(t, 20*time.Second, "an answer of the "+what, func(ctx context.Context) error {
			page, err := server.Shell(ctx, "curl -fsS -m 5 http://$("+address+")/")
			if err == nil && !strings.Contains(page, "hello from there") {
				err = errors.New(page)
			}
			return err
		})
	}
	shell(t, server, "k3s kubectl delete pod/there service/there --now")
}

// secretsKept wants the token of the cluster in files of root's only, in no command line and no log.
func secretsKept(t *testing.T, m *lab.Machine) {
	t.Helper()
	token := strings.TrimSpace(shell(t, m, "cat /etc/rancher/k3s/pipeops-agent.token"))
	secret := token[strings.LastIndexAny(token, ".:")+1:]
	if len(secret) < 16 {
		t.Fatalf("the token has %d bytes", len(token))
	}
	push(t, m, secret, "/root/secret")
	found := shell(t, m, `find /etc /var/lib/pipeops-agent /run /var/log /usr/local /root -xdev -type f ! -path /root/secret -perm /077 -print0 2>/dev/null | xargs -0 grep -lF -f /root/secret 2>/dev/null
for f in /proc/[0-9]*/cmdline; do tr '\0' ' ' <$f 2>/dev/null | grep -qF -f /root/secret && echo $f; done
journalctl --no-pager | grep -F -f /root/secret | head -3; rm /root/secret`)
	if strings.TrimSpace(found) != "" {
		t.Errorf("the token of the cluster is to be seen in:\n%s", found)
	}
}

// TestJoinServers: a cluster with SQLite is moved to etcd by install --cluster-init, two servers join, and the first is cut: the API
// and a project answer on. A server that is uninstalled leaves its etcd in good order.
func TestJoinServers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.machine(t, lab.Options{})
	if err := w.PushSample(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	w.withAgent(t, first)
	installed(t, w, first, "high")

	early := w.spare(t, "join-2")
	w.withAgent(t, early)
	nodeToken(t, w.Gateway, early, "high", "server")
	if result, err := early.Exec(t.Context(), nil, w.joinLine()...); err != nil || result.Code != 50 || !strings.Contains(result.Stdout+result.Stderr, "JOIN_NO_ETCD") {
		t.Fatalf("a server joins SQLite: %v, exit code %d\n%s", err, result.Code, result.Told())
	}
	shell(t, early, "test ! -e /etc/rancher")

	agent := invocation(t, first, "pipeops-agent")
	began := time.Now()
	result, err := first.Exec(t.Context(), nil, "pipeops-agent", "install", "-o", "json", "--cluster-init")
	if err != nil || result.Code != 0 {
		t.Fatalf("to etcd: %v, exit code %d\n%s", err, result.Code, result.Told())
	}
	t.Logf("moved to etcd in %s", time.Since(began).Round(time.Millisecond))
	shell(t, first, "test -e /var/lib/rancher/k3s/server/db/etcd/member && test -e /var/lib/rancher/k3s/server/db/state.db.migrated")
	if invocation(t, first, "pipeops-agent") != agent {
		t.Error("the agent was started anew for it")
	}
	if result, err := first.Exec(t.Context(), nil, "pipeops-agent", "install", "--cluster-init=false"); err != nil || result.Code != 10 || !strings.Contains(result.Stderr, "CLUSTER_DATASTORE") {
		t.Errorf("back to SQLite: %v, exit code %d\n%s", err, result.Code, result.Stderr)
	}

	machines := map[string]*lab.Machine{"e2e-join-2": early, "e2e-join-3": w.spare(t, "join-3")}
	for _, name := range []string{"e2e-join-2", "e2e-join-3"} {
		m := machines[name]
		if err := w.PushSample(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		w.withAgent(t, m)
		nodeToken(t, w.Gateway, m, "high", "server")
		_, took := w.joins(t, m, "--role", "server")
		t.Logf("%s joined in %s", name, took.Round(time.Millisecond))
	}
	secretsKept(t, early)
	w.deploy(t, first, "high")
	eventually(t, 30*time.Second, "three servers at the gateway", func(ctx context.Context) error {
		all, err := nodesOf(ctx, w.Gateway, "high")
		if err == nil && (len(all) != 3 || all["e2e-join-2"] != "server True" || all["e2e-join-3"] != "server True") {
			err = fmt.Errorf("nodes: %v", all)
		}
		return err
	})

	if err := first.Cut(t.Context()); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	kubectl := w.kubectlFor(t, "high")
	eventually(t, 90*time.Second, "the API without the first server", func(ctx context.Context) error {
		cmd := kubectl("--request-timeout=5s", "get", "nodes", "-o", "name")
		out, err := cmd.Output()
		if err == nil && !strings.Contains(string(out), "node/e2e-join-2") {
			err = errors.New(string(out))
		}
		return err
	})
	t.Logf("the API answers %s after the first server was cut", time.Since(began).Round(time.Millisecond))
	w.pageAgain(t, "high")
	t.Logf("the page answers %s after the first server was cut", time.Since(began).Round(time.Millisecond))

	if err := first.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 90*time.Second, "the first server again", func(ctx context.Context) error {
		all, err := nodesOf(ctx, w.Gateway, "high")
		for name, state := range all {
			if state != "server True" {
				err = fmt.Errorf("%s is %s", name, state)
			}
		}
		return err
	})
	said := uninstall(t, machines["e2e-join-3"], 0)
	if !strings.Contains(said, "the etcd of this one counts no more") {
		t.Error("it does not say that its etcd is out")
	}
	eventually(t, 90*time.Second, "two servers", func(ctx context.Context) error { // k3s removes the Node when another server has taken over
		out, err := early.Shell(ctx, "k3s kubectl get nodes -o name; k3s kubectl get --raw /readyz")
		if err == nil && (strings.Contains(out, "join-3") || !strings.HasSuffix(strings.TrimSpace(out), "ok")) {
			err = errors.New(out)
		}
		return err
	})
}
