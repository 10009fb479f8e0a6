//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
	"github.com/pipeopshq/pipeops-agent/test/lab"
)

// The provisioner of k3s, built from its module: no registry of the lab has its image. The image has the name that the
// manifest of k3s asks for.
const (
	provisionerModule = "github.com/rancher/local-path-provisioner@v0.0.30"
	provisionerImage  = "docker.io/rancher/local-path-provisioner:v0.0.31"
)

// withProvisioner puts the image of local-path-provisioner where k3s looks for images.
func withProvisioner(t *testing.T, m *lab.Machine) {
	t.Helper()
	cache := os.Getenv("PIPEOPS_CACHE")
	if cache == "" {
		cache = "/var/cache/pipeops-agent"
	}
	program := filepath.Join(cache, strings.ReplaceAll(filepath.Base(provisionerModule), "@", "-"), "local-path-provisioner")
	if _, err := os.Stat(program); err != nil {
		build := exec.CommandContext(t.Context(), "go", "install", "-ldflags", "-s -w", provisionerModule)
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOBIN="+filepath.Dir(program))
		build.Dir = t.TempDir() // outside of our module
		output(t, build)
	}
	tar := filepath.Join(t.TempDir(), "provisioner.tar")
	pack := exec.CommandContext(t.Context(), "go", "run", ".", "-o", tar, provisionerImage+"=!"+program)
	pack.Dir = "test/images"
	output(t, pack)
	if err := m.Push(t.Context(), tar, "/var/lib/rancher/k3s/agent/images/provisioner.tar"); err != nil {
		t.Fatal(err)
	}
}

// outage is one thing that is broken for real, and the one condition that must say so.
type outage struct {
	condition, code string
	evidence        string // a part of what must be seen
	fix             string // a part of the way out
	cause, cure     string // shell
}

const kubectlSystem = "k3s kubectl -n kube-system "

func outages() []outage {
	return []outage{
		{"PodNetwork", "LAYER_POD_NETWORK", "does not reach the API server at", "cni0",
			"iptables -I INPUT -i cni0 -p tcp -m conntrack --ctstate NEW -j DROP",
			"iptables -D INPUT -i cni0 -p tcp -m conntrack --ctstate NEW -j DROP"},
		{"ServiceAddress", "LAYER_SERVICE", "does not reach itself by its service address", "kube-proxy",
			"iptables -t raw -I PREROUTING -i cni0 -d 10.43.0.0/16 -p tcp --dport 80 -j DROP",
			"iptables -t raw -D PREROUTING -i cni0 -d 10.43.0.0/16 -p tcp --dport 80 -j DROP"},
		{"LargePacket", "LAYER_LARGE_PACKET", "1024 bytes each way passed; 65536 bytes from the pod", "MTU",
			"iptables -I INPUT -i cni0 -p tcp --sport 8080 -m length --length 1200:65535 -j DROP",
			"iptables -D INPUT -i cni0 -p tcp --sport 8080 -m length --length 1200:65535 -j DROP"},
		{"Storage", "LAYER_STORAGE", "the provisioner rancher.io/local-path of local-path has made no volume", "local-path-provisioner",
			kubectlSystem + "scale deployment local-path-provisioner --replicas=0 && " + kubectlSystem + "wait --for=delete pod -l app=local-path-provisioner --timeout=60s",
			kubectlSystem + "scale deployment local-path-provisioner --replicas=1 && " + kubectlSystem + "rollout status deployment local-path-provisioner --timeout=60s"},
		{"PodsRun", "LAYER_POD", "exceeded quota", "journalctl",
			kubectlSystem + "create quota none --hard=pods=0",
			kubectlSystem + "delete quota none"},
		{"DNS", "LAYER_DNS", "0 of 0 DNS pods are ready", "kube-dns",
			kubectlSystem + "scale deployment coredns --replicas=0 && " + kubectlSystem + "wait --for=delete pod -l k8s-app=kube-dns --timeout=60s",
			kubectlSystem + "scale deployment coredns --replicas=1 && " + kubectlSystem + "rollout status deployment coredns --timeout=60s"},
	}
}

// TestLayers breaks one layer of a cluster after another for real, wants exactly that one condition False and named by doctor, and
// heals it.
func TestLayers(t *testing.T) {
	t.Parallel()
	m, _ := newWorld(t).layered(t)
	for _, o := range outages() {
		t.Run(o.condition, func(t *testing.T) { breaks(t, m, o) })
	}
}

// TestLayersInstall plays installs that fail in a proof, and one that is killed; after a reboot everything is proved anew.
func TestLayersInstall(t *testing.T) {
	t.Parallel()
	m, install := newWorld(t).layered(t)
	t.Run("install fails in a proof", func(t *testing.T) { installFails(t, m, install) })
	t.Run("install is killed in a proof", func(t *testing.T) {
		shell(t, m, "rm /var/lib/pipeops-agent/health.json")
		killIn(t, m, "layer-storage", install)
		result, err := m.Exec(t.Context(), nil, install...)
		if err != nil || result.Code != 0 {
			t.Fatalf("%v, exit code %d\n%s", err, result.Code, result.Told())
		}
		nothingLeft(t, m)
	})
	t.Run("reboot", func(t *testing.T) {
		before, err := agentStatus(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Reboot(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, 3*time.Minute, "the layers are proved again", func(ctx context.Context) error {
			status, err := agentStatus(ctx, m)
			if err != nil {
				return err
			}
			for _, c := range status.Conditions {
				i := slices.IndexFunc(before.Conditions, func(b wire.Condition) bool { return b.Type == c.Type })
				if !c.Checked.IsZero() && !c.Checked.After(before.Conditions[i].Checked) {
					return fmt.Errorf("%s was tried last at %s", c.Type, c.Checked)
				}
			}
			return onlyFalse(ctx, m, "")
		})
		nothingLeft(t, m)
	})
}

// layered installs k3s with its storage in a machine, and wants every layer proved.
func (w *world) layered(t *testing.T) (m *lab.Machine, install []string) {
	t.Helper()
	m = w.machine(t, lab.Options{})
	w.withAgent(t, m)
	if err := w.PushSample(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	withProvisioner(t, m)
	token(t, w.Gateway, m)
	install = w.install("layers", "--disable", "traefik,servicelb", "-o", "json")
	result, err := m.Exec(t.Context(), nil, install...)
	if err != nil || result.Code != 0 {
		t.Fatalf("install: %v, exit code %d\n%s\n%s", err, result.Code, result.Told(), shell(t, m, "k3s kubectl get pods,pvc -A"))
	}
	checkEvents(t, result.Stdout)
	for line := range strings.Lines(result.Stdout) {
		if strings.Contains(line, `"layer-`) && strings.Contains(line, `"done"`) {
			t.Log(strings.TrimSpace(line))
		}
	}
	eventually(t, 20*time.Second, "every condition is True", func(ctx context.Context) error { return onlyFalse(ctx, m, "") })
	if mode := shell(t, m, "stat -c %a /var/lib/pipeops-agent/health.json"); strings.TrimSpace(mode) != "600" {
		t.Errorf("the record has mode %s", mode)
	}
	nothingLeft(t, m)
	return m, install
}

// breaks wants exactly one condition to be False while something is broken.
func breaks(t *testing.T, m *lab.Machine, o outage) {
	shell(t, m, o.cause)
	cured := false
	defer func() {
		if !cured {
			shell(t, m, o.cure)
		}
	}()
	eventually(t, 90*time.Second, o.condition+" and nothing else is False, as the outage makes it", func(ctx context.Context) error {
		if _, err := m.Exec(ctx, nil, "pipeops-agent", "status", "--prove"); err != nil {
			return err
		}
		if err := onlyFalse(ctx, m, o.condition); err != nil {
			return err
		}
		status, err := agentStatus(ctx, m)
		if err != nil {
			return err
		}
		for _, c := range status.Conditions {
			if c.Type == o.condition && !strings.Contains(c.Message, o.evidence) { // a look may have met the outage on its way
				return fmt.Errorf("%s is False since %s", c.Type, c.Message)
			}
		}
		return nil
	})
	result, err := m.Exec(t.Context(), nil, "pipeops-agent", "doctor", "-o", "json")
	if err != nil || result.Code != 40 {
		t.Errorf("doctor: %v, exit code %d\n%s", err, result.Code, result.Told())
	}
	var report struct {
		Findings []struct{ Code, Evidence, Fix string }
	}
	if err := json.NewDecoder(strings.NewReader(result.Stdout)).Decode(&report); err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, f := range report.Findings {
		if !strings.HasPrefix(f.Code, "LAYER_") {
			continue
		}
		named++
		if f.Code != o.code || !strings.Contains(f.Evidence, o.evidence) || !strings.Contains(f.Fix, o.fix) {
			t.Errorf("doctor says %+v, want %s with %q and %q", f, o.code, o.evidence, o.fix)
		}
		t.Logf("%s: %s", f.Code, f.Evidence)
	}
	if named != 1 {
		t.Errorf("doctor names %d layers: %s", named, result.Stdout)
	}
	shell(t, m, o.cure)
	cured = true
	eventually(t, 90*time.Second, "it is healed", func(ctx context.Context) error {
		if _, err := m.Exec(ctx, nil, "pipeops-agent", "status", "--prove"); err != nil {
			return err
		}
		return onlyFalse(ctx, m, "")
	})
	nothingLeft(t, m)
}

// onlyFalse returns an error unless the named condition is the only one that is False. Without a name, all must be True.
func onlyFalse(ctx context.Context, m *lab.Machine, name string) error {
	status, err := agentStatus(ctx, m)
	if err != nil {
		return err
	}
	for _, c := range status.Conditions {
		switch {
		case c.Type == name && c.Status != "False", c.Type != name && c.Status == "False", name == "" && c.Status != "True":
			return fmt.Errorf("%s is %s: %s %s", c.Type, c.Status, c.Reason, c.Message)
		}
	}
	return nil
}

// nothingLeft wants no object of a proof to be in the cluster. What is being removed may take a moment.
func nothingLeft(t *testing.T, m *lab.Machine) {
	t.Helper()
	eventually(t, 30*time.Second, "no object of a proof is left", func(ctx context.Context) error {
		out, err := m.Shell(ctx, kubectlSystem+"get pods,services,persistentvolumeclaims -o name | grep pipeops-proof || true; k3s kubectl get persistentvolumes -o name")
		if err == nil && strings.TrimSpace(out) != "" {
			err = fmt.Errorf("left: %s", out)
		}
		return err
	})
}

// installFails runs an install again where large packets vanish: one named error, the cluster stays, and it can go on.
func installFails(t *testing.T, m *lab.Machine, install []string) {
	shell(t, m, "rm /var/lib/pipeops-agent/health.json")
	const rule = "OUTPUT -o cni0 -m length --length 1200:65535 -j DROP"
	shell(t, m, "iptables -I "+rule)
	result, err := m.Exec(t.Context(), nil, install...)
	shell(t, m, "iptables -D "+rule)
	if err != nil {
		t.Fatal(err)
	}
	checkFailure(t, result, "LAYER_LARGE_PACKET", 40)
	if !strings.Contains(result.Stdout+result.Stderr, "bytes from this machine to the pod") {
		t.Errorf("the direction is not named:\n%s", result.Told())
	}
	nothingLeft(t, m)
	if err := condition(t.Context(), m, "LargePacket", "False"); err != nil {
		t.Error(err)
	}
	shell(t, m, "systemctl is-active k3s pipeops-agent")
	result, err = m.Exec(t.Context(), nil, install...)
	if err != nil || result.Code != 0 {
		t.Fatalf("again: %v, exit code %d\n%s", err, result.Code, result.Told())
	}
	if err := onlyFalse(t.Context(), m, ""); err != nil {
		t.Error(err)
	}
}
