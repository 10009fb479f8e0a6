//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/localapi"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
	"github.com/pipeopshq/pipeops-agent/test/lab"
)

// TestKilledInstallConverges kills an install with SIGKILL in three different steps, each time as soon as the step has
// started, and runs it again. The last run must end with a cluster that answers. Then it plays the outages that a
// running agent must outlive.
func TestKilledInstallConverges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.machine(t, lab.Options{})
	w.withAgent(t, m)
	if err := w.PushSample(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	token(t, w.Gateway, m)
	install := w.install("tough", "-o", "json")
	for _, step := range []string{"k3s-images", "k3s-unit", "agent-unit"} {
		killIn(t, m, step, install)
	}
	result, err := m.Exec(t.Context(), nil, install...)
	if err != nil || result.Code != 0 {
		t.Fatalf("%v, exit code %d\n%s", err, result.Code, result.Told())
	}
	w.deploy(t, m, "tough")
	if left := shell(t, m, "find /usr/local /etc/rancher /etc/systemd /etc/pipeops-agent /var/lib/rancher/k3s/agent/images -name '*.part' -o -name '.*tmp*' -o -name '*.tmp'"); left != "" {
		t.Errorf("half-written files are left:\n%s", left)
	}
	t.Run("gateway down", func(t *testing.T) { gatewayDown(t, w, m) })
	t.Run("cluster down", func(t *testing.T) { clusterDown(t, w, m) })
	t.Run("power cut", func(t *testing.T) {
		if err := m.Cut(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.pageAgain(t, "tough")
	})
}

// killIn runs the install until the step has started and kills it there.
func killIn(t *testing.T, m *lab.Machine, step string, install []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		// the shell gives its pid away before it becomes the install
		argv := append([]string{"sh", "-c", `echo $$ > /run/install.pid; exec "$@"`, "sh"}, install...)
		_, err := m.ExecTo(ctx, nil, writer, io.Discard, argv...)
		_ = writer.Close()
		ended <- err
	}()
	killed := false
	var seen []string
	for lines := bufio.NewScanner(reader); lines.Scan(); {
		var e wire.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%q is no event: %v", lines.Text(), err)
		}
		seen = append(seen, e.Step+":"+e.State)
		if e.Step == step && e.State == "started" && !killed {
			killed = true
			shell(t, m, "kill -KILL $(cat /run/install.pid)")
		}
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if !killed {
		t.Fatalf("step %s did not start: %v", step, seen)
	}
}

func agentStatus(ctx context.Context, m *lab.Machine) (localapi.Status, error) {
	var status localapi.Status
	result, err := m.Exec(ctx, nil, "pipeops-agent", "status", "-o", "json")
	if err != nil {
		return status, err
	}
	err = json.NewDecoder(strings.NewReader(result.Stdout)).Decode(&status)
	return status, err
}

// condition returns an error unless the running agent reports the condition with the status.
func condition(ctx context.Context, m *lab.Machine, kind, want string) error {
	status, err := agentStatus(ctx, m)
	if err != nil {
		return err
	}
	for _, c := range status.Conditions {
		if c.Type == kind && c.Status == want {
			return nil
		}
	}
	return errors.New(kind + " is not " + want)
}

// gatewayDown restarts the agent while the gateway is away: it must start, stay, say so, and find it again.
func gatewayDown(t *testing.T, w *world, m *lab.Machine) {
	if err := w.Gateway.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, "the agent sees that the gateway is gone", func(ctx context.Context) error {
		return condition(ctx, m, "Tunnel", "False")
	})
	shell(t, m, "systemctl restart pipeops-agent && systemctl is-active pipeops-agent")
	eventually(t, 30*time.Second, "the agent sees its cluster without its gateway", func(ctx context.Context) error {
		return errors.Join(condition(ctx, m, "ClusterReachable", "True"), condition(ctx, m, "Tunnel", "False"))
	})
	restarts := shell(t, m, "systemctl show -p NRestarts pipeops-agent")
	if err := w.Gateway.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.pageAgain(t, "tough")
	if now := shell(t, m, "systemctl show -p NRestarts pipeops-agent"); now != restarts {
		t.Errorf("the agent was restarted: %s, before %s", now, restarts)
	}
}

// clusterDown stops k3s: the agent must stay connected and say what is wrong, and see it come back.
func clusterDown(t *testing.T, w *world, m *lab.Machine) {
	shell(t, m, "systemctl stop k3s")
	eventually(t, 60*time.Second, "the agent sees that the cluster is down", func(ctx context.Context) error {
		return errors.Join(condition(ctx, m, "ClusterReachable", "False"), condition(ctx, m, "Tunnel", "True"))
	})
	shell(t, m, "systemctl restart pipeops-agent && systemctl is-active pipeops-agent")
	eventually(t, 30*time.Second, "the agent is connected without a cluster", func(ctx context.Context) error {
		return condition(ctx, m, "Tunnel", "True")
	})
	shell(t, m, "systemctl start k3s")
	w.pageAgain(t, "tough")
}

// TestForeignK3s installs k3s as its own users do, without us. Asked for k3s the agent refuses; left to itself it adopts
// the cluster and leaves it as it is.
func TestForeignK3s(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.machine(t, lab.Options{})
	w.withAgent(t, m)
	w.foreignK3s(t, m)
	before := shell(t, m, "find /etc/rancher /etc/systemd/system/k3s.service /usr/local/bin -type f | sort | xargs sha256sum; systemctl show -p MainPID k3s")

	token(t, w.Gateway, m)
	result, err := m.Exec(t.Context(), nil, w.install("theirs", "--distro", "k3s", "-o", "json")...)
	if err != nil {
		t.Fatal(err)
	}
	checkFailure(t, result, "CLUSTER_FOREIGN", 10)

	result, err = m.Exec(t.Context(), nil, w.install("theirs")...)
	if err != nil || result.Code != 0 {
		t.Fatalf("adopt: %v, exit code %d\n%s", err, result.Code, result.Told())
	}
	if after := shell(t, m, "find /etc/rancher /etc/systemd/system/k3s.service /usr/local/bin -type f | sort | xargs sha256sum; systemctl show -p MainPID k3s"); after != before {
		t.Errorf("the foreign k3s was touched:\n%s", difference(before, after))
	}
	output(t, w.kubectlFor(t, "theirs")("get", "nodes"))
}

// foreignK3s installs and starts k3s as its own users do.
func (w *world) foreignK3s(t *testing.T, m *lab.Machine) {
	t.Helper()
	for name, to := range map[string]string{"k3s": "/usr/local/bin/k3s", "k3s-airgap-images-amd64.tar.zst": "/var/lib/rancher/k3s/agent/images/k3s.tar.zst"} {
		if err := m.Push(t.Context(), filepath.Join(w.Release, name), to); err != nil {
			t.Fatal(err)
		}
	}
	// what this machine needs of containerd, as its owner would have found out
	if err := m.Push(t.Context(), "test/bench/install/containerd.toml", "/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.tmpl"); err != nil {
		t.Fatal(err)
	}
	push(t, m, foreignUnit, "/etc/systemd/system/k3s.service")
	shell(t, m, "chmod 755 /usr/local/bin/k3s && systemctl daemon-reload && systemctl start k3s")
}

const foreignUnit = `[Unit]
Description=somebody's own k3s
[Service]
Type=notify
Delegate=yes
KillMode=process
ExecStart=/usr/local/bin/k3s server --disable=traefik,servicelb,local-storage
[Install]
WantedBy=multi-user.target
`
