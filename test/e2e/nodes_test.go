//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway"
	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// member boots a further machine and lets it join a cluster.
func (w *world) member(t *testing.T, name, cluster, role string) *lab.Machine {
	t.Helper()
	m, err := w.Lab.Up(t.Context(), name, lab.Options{})
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
	if err := w.PushSample(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	w.withAgent(t, m)
	var made gateway.NewNodeToken
	if err := json.Unmarshal([]byte(command(t, w.Gateway, "join", cluster, "--role", role, "-o", "json")), &made); err != nil {
		t.Fatal(err)
	}
	push(t, m, made.Secret+"\n", rig.TokenFile)
	began := time.Now()
	result, err := m.Exec(t.Context(), nil, "env", "PIPEOPS_MIRROR="+w.Mirror.URL(), "pipeops-agent", "join", "--gateway", w.Gateway.Address, "--token-file", rig.TokenFile)
	if err != nil || result.Code != 0 {
		t.Fatalf("join: %v, exit code %d\n%s\n%s", err, result.Code, result.Told(), shell(t, m, "journalctl --no-pager -n 60 -u k3s -u k3s-agent -u pipeops-agent"))
	}
	t.Logf("%s joined in %s", name, time.Since(began).Round(time.Millisecond))
	return m
}

// listed returns the nodes of a cluster as the gateway lists them, by name.
func listed(ctx context.Context, g *rig.Gateway, cluster string) (map[string]gateway.NodeInfo, error) {
	out, err := g.Run(ctx, "nodes", cluster, "-o", "json")
	if err != nil {
		return nil, err
	}
	var list []gateway.NodeInfo
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	byName := map[string]gateway.NodeInfo{}
	for _, n := range list {
		byName[n.Name] = n
	}
	return byName, nil
}

// TestNodes: a cluster of two servers and a worker is listed as it is; the worker is drained, past a PodDisruptionBudget, and removed; the
// second server takes the lead over and gives it back; it is removed and leaves an etcd of one; the last server is not removed.
func TestNodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.machine(t, lab.Options{})
	if err := w.PushSample(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	w.withAgent(t, first)
	token(t, w.Gateway, first)
	if result, err := first.Exec(t.Context(), nil, w.install("many", "--cluster-init")...); err != nil || result.Code != 0 {
		t.Fatalf("install: %v, exit code %d\n%s", err, result.Code, result.Told())
	}
	worker, second := w.member(t, "e2e-nodes-w", "many", "worker"), w.member(t, "e2e-nodes-2", "many", "server")
	eventually(t, time.Minute, "three nodes", func(ctx context.Context) error {
		all, err := listed(ctx, w.Gateway, "many")
		if err != nil {
			return err
		}
		for name, role := range map[string]string{"e2e-nodes": "server, etcd", "e2e-nodes-2": "server, etcd", "e2e-nodes-w": "worker"} {
			if n := all[name]; n.Role != role || n.Ready != "True" || !n.Tunnel || n.Leads != (name == "e2e-nodes") || len(n.Internal) == 0 || n.Version == "" {
				return fmt.Errorf("%s: %+v", name, n)
			}
		}
		return nil
	})
	t.Log(command(t, w.Gateway, "nodes", "many"))

	kubectl := w.kubectlFor(t, "many")
	push(t, first, fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"pair"},"spec":{"replicas":2,"selector":{"matchLabels":{"app":"pair"}},"template":{"metadata":{"labels":{"app":"pair"}},
"spec":{"terminationGracePeriodSeconds":1,"affinity":{"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":100,"preference":{"matchExpressions":[{"key":"kubernetes.io/hostname","operator":"In","values":["e2e-nodes-w"]}]}}]}},
"containers":[{"name":"web","image":%q,"imagePullPolicy":"Never","env":[{"name":"GREETING","value":"pair"}]}]}}}}`, rig.SampleImage), "/root/pair.json")
	shell(t, first, "k3s kubectl apply -f /root/pair.json && k3s kubectl create poddisruptionbudget pair --selector=app=pair --min-available=1 && k3s kubectl rollout status deployment/pair --timeout=90s")
	const onWorker = "k3s kubectl get pods -A --field-selector spec.nodeName=e2e-nodes-w -o name | grep -c pair || true"
	if n := strings.TrimSpace(shell(t, first, onWorker)); n != "2" {
		t.Fatalf("%s pods are on the worker", n)
	}
	began := time.Now()
	said := command(t, w.Gateway, "nodes", "drain", "many", "e2e-nodes-w")
	t.Logf("drained in %s:\n%s", time.Since(began).Round(time.Millisecond), said)
	if n := strings.TrimSpace(shell(t, first, onWorker)); n != "0" || strings.Count(said, "gone ") < 2 || !strings.Contains(said, "drained") {
		t.Errorf("%s pods are left on the worker", n)
	}
	command(t, w.Gateway, "nodes", "uncordon", "many", "e2e-nodes-w")
	t.Log(command(t, w.Gateway, "nodes", "remove", "many", "e2e-nodes-w"))
	if all, err := listed(t.Context(), w.Gateway, "many"); err != nil || len(all) != 2 {
		t.Errorf("after the worker was removed: %v, %v", all, err)
	}
	shell(t, first, "! k3s kubectl -n kube-system get secret e2e-nodes-w.node-password.k3s")
	eventually(t, 20*time.Second, "the worker is refused", func(ctx context.Context) error {
		_, err := worker.Shell(ctx, "pipeops-agent status | grep -q IDENTITY_REVOKED")
		return err
	})

	w.deploy(t, first, "many")
	leads := func(name string) func(context.Context) error {
		return func(ctx context.Context) error {
			all, err := listed(ctx, w.Gateway, "many")
			if err == nil && !all[name].Leads {
				err = fmt.Errorf("%+v", all)
			}
			return err
		}
	}
	shell(t, first, "systemctl stop pipeops-agent")
	began = time.Now()
	eventually(t, time.Minute, "the second leads", leads("e2e-nodes-2"))
	t.Logf("the second leads after %s", time.Since(began).Round(time.Millisecond))
	w.pageAgain(t, "many")
	if _, err := w.Deploy(t.Context(), "many", "late", greeting, 2*time.Minute); err != nil {
		t.Errorf("a project by the second: %v", err)
	}
	if held := shell(t, second, "k3s kubectl -n kube-system get lease pipeops-agent-lead -o jsonpath={.spec.leaseTransitions}"); held != "2" {
		t.Errorf("the Lease holds the term %q", held)
	}
	shell(t, first, "systemctl start pipeops-agent")
	shell(t, second, "systemctl stop pipeops-agent")
	eventually(t, time.Minute, "the first leads", leads("e2e-nodes"))
	w.pageAgain(t, "many")
	command(t, w.Gateway, "project", "delete", "late", "--cluster", "many")
	eventually(t, time.Minute, "the first removes what the second has made", func(ctx context.Context) error {
		if out, err := w.Gateway.Run(ctx, "project", "status", "late", "--cluster", "many"); err == nil {
			return fmt.Errorf("%s", out)
		}
		return nil
	})

	shell(t, second, "systemctl start pipeops-agent")
	removed := make(chan error, 1)
	go func() {
		out, err := w.Gateway.Run(t.Context(), "nodes", "remove", "many", "e2e-nodes-2", "--timeout", "2m")
		t.Log(out)
		removed <- err
	}()
	eventually(t, time.Minute, "the second is drained", func(ctx context.Context) error {
		all, err := listed(ctx, w.Gateway, "many")
		if err == nil && !all["e2e-nodes-2"].Cordoned {
			err = fmt.Errorf("%+v", all)
		}
		return err
	})
	t.Log(uninstall(t, second, 0))
	if err := <-removed; err != nil {
		t.Error(err)
	}
	output(t, kubectl("wait", "--for=condition=Ready", "node/e2e-nodes", "--timeout=30s"))
	if all, err := listed(t.Context(), w.Gateway, "many"); err != nil || len(all) != 1 {
		t.Errorf("after the second was removed: %v, %v", all, err)
	}
	// etcd has one member that decides alone: else this write would be refused
	output(t, kubectl("create", "configmap", "alone"))
	if out, err := w.Gateway.Run(t.Context(), "nodes", "remove", "many", "e2e-nodes"); err == nil || !strings.Contains(err.Error()+out, "NODE_NEEDED") {
		t.Errorf("the last server: %v, %s", err, out)
	}
}
