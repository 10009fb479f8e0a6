//go:build e2e

package e2e

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/test/lab"
)

// limited makes a service account of somebody else's that may look at everything but secrets, and its kubeconfig.
const limited = `set -e
k3s kubectl create serviceaccount -n default limited
k3s kubectl create clusterrolebinding limited --clusterrole=view --serviceaccount=default:limited
umask 077
cat >/root/limited.yaml <<END
apiVersion: v1
kind: Config
current-context: limited
contexts: [{name: limited, context: {cluster: c, user: u}}, {name: nobody, context: {cluster: c, user: nobody}}, {name: elsewhere, context: {cluster: dead, user: u}}, {name: other-ca, context: {cluster: other, user: u}}, {name: plugin, context: {cluster: c, user: plugin}}]
clusters:
- {name: c, cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: $(base64 -w0 </var/lib/rancher/k3s/server/tls/server-ca.crt)}}
- {name: dead, cluster: {server: "https://127.0.0.1:6999", certificate-authority-data: $(base64 -w0 </var/lib/rancher/k3s/server/tls/server-ca.crt)}}
- {name: other, cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: $(base64 -w0 </var/lib/rancher/k3s/server/tls/client-ca.crt)}}
users:
- {name: u, user: {token: "$(k3s kubectl create token -n default limited --duration 4h)"}}
- {name: nobody, user: {token: "nobody"}}
- {name: plugin, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: /usr/bin/touch, args: [/root/was-run], interactiveMode: Never}}}
END`

// hostTree is every file of the machine beside what the running system and its cluster change by themselves, and beside our own.
const hostTree = `find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/log -o -path /var/lib/rancher -o -path /var/lib/kubelet -o -path /var/lib/cni -o -path /var/lib/systemd -o -path /root/pipeops.token -o -path /root/.kube -o -path /var/cache \
	-o -path '/etc/pipeops-agent*' -o -path '/var/lib/pipeops-agent*' -o -path '/etc/systemd/system/pipeops-agent*' -o -path '*.wants/pipeops-agent*' -o -path /usr/local/bin/pipeops-agent \) -prune -o -type f -print0 | xargs -0 sh -c 'stat -c "%n %a %u:%g" "$@"; sha256sum -b "$@"' sh | sort
sysctl -a 2>/dev/null | grep -E '^net.ipv4.(ip_forward|conf.all)|^vm.overcommit|^kernel.panic'
systemctl show -p MainPID k3s; systemctl list-unit-files --no-legend --no-pager | awk '$2 != "transient" && !/pipeops-agent/ {print $1, $2, $3}'`

// TestAdopt: a cluster of somebody else's is adopted only by who may do what it takes, which is told before anything is changed; of
// two that run none is guessed; the machine is left as it is, and of the cluster only what is ours goes when we leave.
func TestAdopt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.machine(t, lab.Options{})
	w.withAgent(t, m)
	if err := w.PushSample(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	w.foreignK3s(t, m)
	shell(t, m, "until k3s kubectl get serviceaccount default; do :; done")
	shell(t, m, limited)
	token(t, w.Gateway, m)
	before := shell(t, m, hostTree)
	objects := "k3s kubectl get namespaces,clusterroles,clusterrolebindings,serviceaccounts,roles,rolebindings -A --no-headers -o name | grep -v '/pipeops-install$' | sort"
	held := shell(t, m, objects)

	refused := func(name, code string, says []string, args ...string) {
		t.Run(name, func(t *testing.T) {
			result, err := m.Exec(t.Context(), nil, w.install("theirs", append([]string{"-o", "json"}, args...)...)...)
			if err != nil {
				t.Fatal(err)
			}
			checkFailure(t, result, code, 10)
			for _, s := range says {
				if !strings.Contains(result.Stdout, s) {
					t.Errorf("it does not say %q:\n%s", s, result.Stdout)
				}
			}
			if after := shell(t, m, hostTree); after != before {
				t.Errorf("the machine is not as it was:\n%s", difference(before, after))
			}
			shell(t, m, "test ! -e /var/lib/pipeops-agent/identity && test ! -e /root/was-run")
		})
	}
	by := func(more ...string) []string {
		return append([]string{"--distro", "existing", "--kubeconfig", "/root/limited.yaml"}, more...)
	}
	refused("limited rights", "CLUSTER_RIGHTS", []string{"system:serviceaccount:default:limited may not:", "create namespaces;", "escalate clusterroles.rbac.authorization.k8s.io;",
		"bind clusterroles.rbac.authorization.k8s.io cluster-admin", "create serviceaccounts/token pipeops-agent in pipeops-system", "create pods in kube-system",
		"pipeops-agent access manifest --user system:serviceaccount:default:limited"}, by()...)
	refused("unknown user", "KUBECONFIG_REFUSED", []string{"401"}, by("--context", "nobody")...)
	refused("nobody listens", "KUBECONFIG_DEAD", []string{"connection refused", "127.0.0.1:6999"}, by("--context", "elsewhere")...)
	refused("another CA", "KUBECONFIG_UNTRUSTED", []string{"signed by an authority"}, by("--context", "other-ca")...)
	refused("a plugin", "KUBECONFIG_EXEC", []string{"/usr/bin/touch", "access manifest"}, by("--context", "plugin")...)
	refused("no such context", "KUBECONFIG_INVALID", []string{"it has elsewhere, limited"}, by("--context", "none")...)

	// a stand-in for a second cluster: the files and the process of kubeadm, whose API is that of the k3s
	shell(t, m, "mkdir -p /etc/kubernetes && cp /etc/rancher/k3s/k3s.yaml /etc/kubernetes/admin.conf && touch /etc/kubernetes/kubelet.conf && cp /usr/bin/sleep /tmp/kubelet && systemd-run --unit second --quiet /tmp/kubelet 3600")
	with := before
	before = shell(t, m, hostTree)
	refused("two clusters", "CLUSTER_SEVERAL", []string{"k3s is running (v1.33.2+k3s1, 1 of 1 nodes ready, https://127.0.0.1:6443)", "kubeadm is running (v1.33.2+k3s1",
		"--distro existing --kubeconfig /etc/rancher/k3s/k3s.yaml", "--distro existing --kubeconfig /etc/kubernetes/admin.conf"}, "--distro", "existing")
	shell(t, m, "systemctl stop second; rm -r /etc/kubernetes /tmp/kubelet")
	before = with

	shell(t, m, "pipeops-agent access manifest --user system:serviceaccount:default:limited | k3s kubectl apply -f -")
	argv := w.install("theirs", by("-o", "json")...)
	result, err := m.Exec(t.Context(), nil, argv...)
	if err != nil || result.Code != 0 {
		t.Fatalf("adopt: %v, exit code %d\n%s", err, result.Code, result.Told())
	}
	checkEvents(t, result.Stdout)
	if !strings.Contains(result.Stdout, "Adopting Kubernetes v1.33.2+k3s1 (k3s) at https://127.0.0.1:6443, 1 of 1 nodes ready, by /root/limited.yaml") {
		t.Errorf("it does not say what is adopted:\n%s", result.Stdout)
	}
	if after := shell(t, m, hostTree); after != before {
		t.Errorf("the machine was changed:\n%s", difference(before, after))
	}
	output(t, w.kubectlFor(t, "theirs")("get", "nodes"))
	w.deploy(t, m, "theirs")
	command(t, w.Gateway, "project", "delete", "web", "--cluster", "theirs")
	shell(t, m, "until ! k3s kubectl get namespace project-web 2>/dev/null; do :; done")
	if status, err := agentStatus(t.Context(), m); err != nil || status.Provider != "k3s" || status.Distro != "existing" {
		t.Errorf("status %+v, %v", status, err)
	}
	t.Run("second install", func(t *testing.T) { secondInstall(t, m, argv) })
	shell(t, m, "cp "+agentKubeconfig+" /root/kept.yaml && k3s kubectl --kubeconfig /root/kept.yaml get nodes")

	// this user may not see Secrets: the namespace may hold one of somebody else's, stays, and is told
	if said := shell(t, m, "pipeops-agent uninstall --yes --keep-agent"); !strings.Contains(said, "Left: Namespace pipeops-system") {
		t.Error(said)
	}
	shell(t, m, "k3s kubectl delete namespace pipeops-system")
	if after := shell(t, m, objects); after != held {
		t.Errorf("the cluster is not as it was:\n%s", difference(held, after))
	}
	eventually(t, 30*time.Second, "the token has died with its account", func(context.Context) error { // the API server remembers for 10 s whom it knew
		out, err := m.Shell(t.Context(), "k3s kubectl --kubeconfig /root/kept.yaml get nodes 2>&1 || true")
		if err == nil && !strings.Contains(out, "Unauthorized") {
			err = errors.New(out)
		}
		return err
	})
	shell(t, m, "rm /root/kept.yaml")
	if after := shell(t, m, hostTree); after != before {
		t.Errorf("the machine is not as it was:\n%s", difference(before, after))
	}
	shell(t, m, "test ! -e /var/lib/pipeops-agent && test ! -e /etc/systemd/system/pipeops-agent-credential.path")

	// the way without an administrator's kubeconfig on the machine: that of the service account of the manifest, by its own lines
	shell(t, m, `export KUBECONFIG=/etc/rancher/k3s/k3s.yaml; kubectl() { k3s kubectl "$@"; }
pipeops-agent access manifest >/root/install.yaml && kubectl apply -f /root/install.yaml
until kubectl -n pipeops-install get secret pipeops-install -o jsonpath='{.data.token}' | grep -q .; do :; done
cd /root && grep -E '^#   (umask|kubectl)' install.yaml | sed 's/^#   //' >lines.sh && . ./lines.sh && test "$(stat -c %a install.kubeconfig)" = 600`)
	token(t, w.Gateway, m)
	result, err = m.Exec(t.Context(), nil, w.install("again", "--distro", "existing", "--kubeconfig", "/root/install.kubeconfig", "-o", "json")...)
	if err != nil || result.Code != 0 {
		t.Fatalf("adopt with the account of the manifest: %v, exit code %d\n%s", err, result.Code, result.Told())
	}
	output(t, w.kubectlFor(t, "again")("get", "nodes"))
}
