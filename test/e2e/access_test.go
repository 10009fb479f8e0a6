//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/test/lab"
)

// auditPolicy has k3s write down every request of the agent's account, and nobody else's.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: ["` + agentUser + `"]
- level: None
`

const (
	agentUser       = "system:serviceaccount:" + cluster.Namespace + ":" + cluster.Account
	agentKubeconfig = "/var/lib/pipeops-agent/" + cluster.CredentialFile
	auditLog        = "/var/lib/rancher/audit.log"
)

// audited is a line of the audit log, as far as it is looked at.
type audited struct {
	Verb   string    `json:"verb"`
	URI    string    `json:"requestURI"`
	At     time.Time `json:"requestReceivedTimestamp"`
	As     any       `json:"impersonatedUser"`
	Object struct {
		Resource, Subresource, Namespace, Name, APIGroup string
	} `json:"objectRef"`
	Status struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
}

// TestAgentAccount: the running agent does all that it does with an account of its own whose rights are named, uses every one of
// them, and is refused what it does not need. Its token is renewed while it runs, and made anew by the unit of root's where it died.
func TestAgentAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.machine(t, lab.Options{})
	w.withAgent(t, m)
	if err := w.PushSample(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	token(t, w.Gateway, m)
	push(t, m, auditPolicy, "/etc/rancher/k3s/audit.yaml")
	push(t, m, "kube-apiserver-arg: [audit-policy-file=/etc/rancher/k3s/audit.yaml, audit-log-path="+auditLog+"]\n", "/etc/rancher/k3s/config.yaml.d/audit.yaml")
	// a token is used for 60 s, so that it is renewed every 40 s; the API server gives none that ends before 10 min
	shell(t, m, "mkdir -p /etc/pipeops-agent && echo 'token_life: 60s' > /etc/pipeops-agent/config.yaml && chmod 600 /etc/pipeops-agent/config.yaml")
	install := w.install("own", "-o", "json")
	result, err := m.Exec(t.Context(), nil, install...)
	if err != nil || result.Code != 0 {
		t.Fatalf("install: %v, exit code %d\n%s", err, result.Code, result.Told())
	}
	checkEvents(t, result.Stdout)
	kubectl := w.kubectlFor(t, "own")
	w.deploy(t, m, "own")
	status := shell(t, m, "pipeops-agent status --prove; systemctl show -p MainPID --value pipeops-agent")
	t.Log(status)

	var starting window
	t.Run("hidden files", func(t *testing.T) { starting = cannotReadAdmin(t, m) })
	t.Run("renewal", func(t *testing.T) {
		before := shell(t, m, "sha256sum "+agentKubeconfig+"; systemctl show -p MainPID --value pipeops-agent")
		eventually(t, 90*time.Second, "the token is renewed", func(context.Context) error {
			if !strings.HasPrefix(before, strings.Fields(shell(t, m, "sha256sum "+agentKubeconfig))[0]) {
				return nil
			}
			return errors.New("the same")
		})
		after := shell(t, m, "sha256sum "+agentKubeconfig+"; systemctl show -p MainPID --value pipeops-agent")
		b, a := strings.Fields(before), strings.Fields(after)
		if a[0] == b[0] || a[2] != b[2] {
			t.Errorf("before\n%s\nafter\n%s", before, after)
		}
		if mode := shell(t, m, "stat -c %a:%U "+agentKubeconfig); mode != "600:root" {
			t.Errorf("mode %s", mode)
		}
		if log := shell(t, m, "journalctl -u pipeops-agent-credential --no-pager"); strings.Contains(log, "access renew") || strings.Contains(log, "credential is good") {
			t.Errorf("the unit of root's was needed:\n%s", log)
		}
		output(t, kubectl("get", "nodes"))
		w.pageAgain(t, "own")
	})
	t.Run("second install", func(t *testing.T) { secondInstall(t, m, install) })
	command(t, w.Gateway, "project", "delete", "web", "--cluster", "own")
	eventually(t, time.Minute, "the project is gone", func(context.Context) error {
		if all := shell(t, m, "k3s kubectl get namespaces"); strings.Contains(all, "project-web") {
			return errors.New(all)
		}
		return nil
	})
	t.Run("rights", func(t *testing.T) { rightsAreThoseUsed(t, m, starting) })
	t.Run("refused", func(t *testing.T) { refusedToAgent(t, m) })
	for name, kill := range map[string]string{
		"account deleted":    "k3s kubectl -n pipeops-system delete serviceaccount pipeops-agent",
		"all of it deleted":  "k3s kubectl delete namespace pipeops-system && k3s kubectl delete clusterrole,clusterrolebinding pipeops-agent",
		"credential deleted": "rm " + agentKubeconfig,
	} {
		t.Run(name, func(t *testing.T) {
			before := shell(t, m, "sha256sum "+agentKubeconfig)
			shell(t, m, kill)
			eventually(t, 3*time.Minute, "the agent has a new credential", func(ctx context.Context) error {
				result, err := m.Exec(ctx, nil, "sha256sum", agentKubeconfig)
				if err != nil || result.Code != 0 || result.Stdout == before+"\n" {
					return fmt.Errorf("%w: %s", errors.Join(err, errors.New("the same")), result.Told())
				}
				return errors.Join(condition(ctx, m, "ClusterAccess", "True"), condition(ctx, m, "ClusterReachable", "True"))
			})
			eventually(t, 30*time.Second, "kubectl gets through", func(context.Context) error { return kubectl("get", "nodes").Run() })
		})
	}
	if t.Failed() {
		t.Log(shell(t, m, "journalctl --no-pager -u pipeops-agent -u pipeops-agent-credential.service -u pipeops-agent-credential.path | tail -80"))
	}
}

// window is a time in which an API server starts: it refuses requests until it has read the rights.
type window struct{ from, to time.Time }

// cannotReadAdmin looks at the files as the agent's process sees them, also after k3s has written them again. It returns when k3s has started
// anew.
func cannotReadAdmin(t *testing.T, m *lab.Machine) window {
	look := "pid=$(systemctl show -p MainPID --value pipeops-agent); for f in /etc/rancher/k3s/k3s.yaml /var/lib/rancher/k3s/server/tls/server-ca.key" +
		" /var/lib/rancher/k3s/server/cred/admin.kubeconfig /var/lib/rancher/k3s/server/db/state.db; do test -s $f || echo missing $f; test -s /proc/$pid/root$f && echo seen $f; done; echo -n"
	if got := shell(t, m, look); got != "" {
		t.Error(got)
	}
	starting := window{from: time.Now()}
	shell(t, m, "systemctl restart k3s")
	if got := shell(t, m, look); got != "" {
		t.Errorf("after a restart of k3s: %s", got)
	}
	eventually(t, 2*time.Minute, "the cluster is back", func(ctx context.Context) error {
		return errors.Join(condition(ctx, m, "ClusterReachable", "True"), condition(ctx, m, "ClusterAccess", "True"))
	})
	shell(t, m, "until k3s kubectl get --raw /readyz >/dev/null 2>&1; do sleep 0.2; done") // it is, among others, when it has read the rights
	starting.to = time.Now()
	return starting
}

// rightsAreThoseUsed compares every request that the account has made with its rights: none was refused, but by an API server that starts, and none of the
// rights is without use.
func rightsAreThoseUsed(t *testing.T, m *lab.Machine, starting window) {
	unused := map[string]bool{}
	for _, r := range cluster.Rights(cluster.Standing{}) {
		for _, v := range r.Verbs {
			if r.Verbs[0] != "impersonate" {
				unused[v+" "+r.Resource+r.Path] = true
			}
		}
	}
	all := map[string]int{}
	impersonated := 0
	for line := range strings.Lines(shell(t, m, "cat "+auditLog)) {
		var a audited
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if a.As != nil {
			impersonated++
			continue
		}
		what := a.Verb + " " + a.Object.Resource
		switch {
		case a.Object.Resource == "":
			what = a.Verb + " " + a.URI
		case a.Object.Subresource != "":
			what += "/" + a.Object.Subresource
		}
		all[what]++
		delete(unused, what)
		if a.Status.Code == 403 && (a.At.Before(starting.from) || a.At.After(starting.to)) {
			t.Errorf("refused: %s", line)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(all)) {
		t.Logf("%4d %s", all[what], what)
	}
	t.Logf("%4d for users of the gateway", impersonated)
	if impersonated == 0 || len(all) == 0 {
		t.Error("nothing was written down")
	}
	// the k3s of the lab has no StorageClass, so that no volume is claimed
	delete(unused, "create persistentvolumeclaims")
	delete(unused, "get persistentvolumeclaims")
	// server-side apply makes what is not there, and is written down as a patch
	for _, kind := range []string{"namespaces", "serviceaccounts", "deployments"} {
		delete(unused, "create "+kind)
	}
	if len(unused) > 0 {
		t.Errorf("rights without use: %v", slices.Sorted(maps.Keys(unused)))
	}
}

// refusedToAgent tries with the agent's own credential what it has no right to.
func refusedToAgent(t *testing.T, m *lab.Machine) {
	for _, tt := range []string{
		"get secrets -n kube-system", "get secrets -A", "create secrets -n pipeops-system", "get configmaps -n kube-system",
		"create clusterrolebindings", "create clusterroles", "bind clusterroles/cluster-admin", "escalate clusterroles", "create rolebindings -n pipeops-system",
		"create pods -n default", "create pods --subresource=exec -n kube-system", "delete pods/coredns -n kube-system", "delete nodes", "patch nodes", "get nodes --subresource=proxy",
		"impersonate groups/system:masters", "impersonate serviceaccounts -n kube-system", "impersonate uids", "create serviceaccounts/default --subresource=token -n kube-system",
		"delete services/kubernetes -n default", "delete deployments -n kube-system", "get deployments --subresource=scale -n kube-system", "get /metrics", "create certificatesigningrequests",
	} {
		result, err := m.Shell(t.Context(), "k3s kubectl --kubeconfig "+agentKubeconfig+" auth can-i "+tt+" 2>/dev/null || true")
		if err != nil || result != "no" {
			t.Errorf("can-i %s: %q, %v", tt, result, err)
		}
	}
	for _, tt := range []string{"get secrets -n kube-system", "create clusterrolebinding mine --clusterrole=cluster-admin --user=me", "get pods --as=me --as-group=system:masters"} {
		result, err := m.Shell(t.Context(), "k3s kubectl --kubeconfig "+agentKubeconfig+" "+tt+" 2>&1 || true")
		if err != nil || !strings.Contains(strings.ToLower(result), "forbidden") {
			t.Errorf("%s: %q, %v", tt, result, err)
		}
	}
}
