//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// brokenK3s holds a setting with which k3s ends at once.
const brokenK3s = "/etc/rancher/k3s/config.yaml.d/99-broken.yaml"

// TestOpenRC installs where OpenRC starts the services: first a k3s that cannot start, of which nothing may stay, then
// the whole way to a page; again; after the death of both processes; after a reboot; and then all of it is stopped.
func TestOpenRC(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.machine(t, lab.Options{OpenRC: true})
	w.withAgent(t, m)
	if err := w.PushSample(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	secret := token(t, w.Gateway, m)
	var probed host.Report
	if err := json.Unmarshal([]byte(shell(t, m, "pipeops-agent probe -o json")), &probed); err != nil {
		t.Fatal(err)
	}
	if i := probed.Facts.Init; !i.OpenRC.Value || i.Systemd.Value {
		t.Fatalf("the probe says %+v", i)
	}
	if plan := shell(t, m, "env "+strings.Join(w.Environment("alp"), " ")+" pipeops-agent plan"); !strings.Contains(plan, "OpenRC service k3s") || strings.Contains(plan, "systemd unit") {
		t.Errorf("the plan is\n%s", plan)
	}

	install := w.install("alp", "-o", "json")
	push(t, m, "cluster-cidr: not-a-network\n", brokenK3s)
	result, err := m.Exec(t.Context(), nil, install...)
	if err != nil {
		t.Fatal(err)
	}
	checkFailure(t, result, "K3S_NETWORKS", 30)
	if !strings.Contains(result.Stdout+result.Stderr, "not-a-network") {
		t.Errorf("the failure does not say why:\n%s", result.Told())
	}
	shell(t, m, "! pgrep k3s && ! pgrep supervise-daemo && test ! -e /etc/init.d/k3s && test ! -e /etc/runlevels/default/k3s && test ! -e /etc/logrotate.d/k3s")
	shell(t, m, "rm "+brokenK3s)

	result, err = m.Exec(t.Context(), nil, install...)
	if err != nil || result.Code != 0 {
		t.Fatalf("install: %v, exit code %d\n%s\n%s", err, result.Code, result.Told(),
			shell(t, m, "rc-status; tail -n 60 /var/log/k3s.log /var/log/pipeops-agent.log"))
	}
	for _, layer := range []string{"layer-api", "layer-node", "layer-dns", "layer-pod", "connected"} {
		if !strings.Contains(result.Stdout, `"step":"`+layer+`"`) {
			t.Errorf("no event of step %s", layer)
		}
	}
	shell(t, m, `test "$(stat -c %a /etc/init.d/k3s /etc/init.d/pipeops-agent | tr '\n' ' ')" = "755 755 "`)
	shell(t, m, "logrotate --debug /etc/logrotate.d/k3s && logrotate --debug /etc/logrotate.d/pipeops-agent")
	shell(t, m, "test ! -e /etc/systemd/system/k3s.service && pipeops-agent status")
	w.deploy(t, m, "alp")

	t.Run("second install", func(t *testing.T) { secondInstallOpenRC(t, m, install) })
	t.Run("no trace of the token", func(t *testing.T) { tokenIsNowhere(t, m, secret) })
	t.Run("respawn", func(t *testing.T) { respawned(t, w, m) })
	t.Run("reboot", func(t *testing.T) {
		if err := m.Reboot(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.pageAgain(t, "alp")
	})
	t.Run("stop all", func(t *testing.T) { stopsAll(t, m) })
}

// secondInstallOpenRC runs the same install again: it must change nothing, restart nothing, and say so.
func secondInstallOpenRC(t *testing.T, m *lab.Machine, install []string) {
	shell(t, m, "rm "+rig.TokenFile)
	const tree = `find /etc /usr/local /var/lib/pipeops-agent/identity -type f | sort | xargs sha256sum; cat /run/openrc/options/k3s/child_pid /run/openrc/options/pipeops-agent/child_pid`
	before := shell(t, m, tree)
	result, err := m.Exec(t.Context(), nil, install[:len(install)-2]...) // without -o json
	if err != nil || result.Code != 0 {
		t.Fatalf("%v, exit code %d\n%s", err, result.Code, result.Told())
	}
	if !strings.Contains(result.Stdout+result.Stderr, "Nothing to change") {
		t.Errorf("it does not say that nothing was changed:\n%s", result.Told())
	}
	if after := shell(t, m, tree); before != after {
		t.Errorf("it changed:\n%s", difference(before, after))
	}
}

// respawned kills both processes: their supervisors must start them again, and the pods live on.
func respawned(t *testing.T, w *world, m *lab.Machine) {
	const pods = "pgrep -x web"
	before := shell(t, m, pods)
	shell(t, m, "kill -9 $(cat /run/openrc/options/k3s/child_pid) $(cat /run/openrc/options/pipeops-agent/child_pid)")
	eventually(t, 2*time.Minute, "both are back", func(ctx context.Context) error {
		return errors.Join(condition(ctx, m, "ClusterReachable", "True"), condition(ctx, m, "Tunnel", "True"))
	})
	w.pageAgain(t, "alp")
	if after := shell(t, m, pods); after != before {
		t.Errorf("the pod was %s and is %s", before, after)
	}
}

// stopsAll has the manager itself stop k3s, by the test of its package: nothing of the cluster may run on, and the agent must.
func stopsAll(t *testing.T, m *lab.Machine) {
	program := filepath.Join(t.TempDir(), "openrc.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", program, "./internal/openrc")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	output(t, build)
	if err := m.Push(t.Context(), program, "/root/openrc.test"); err != nil {
		t.Fatal(err)
	}
	shell(t, m, "pgrep -x web && pgrep -f 'containerd-shi[m]'")
	shell(t, m, "OPENRC_LIVE_SERVICE=k3s.service /root/openrc.test -test.v -test.run Live")
	shell(t, m, "! pgrep -x web && ! pgrep -f 'containerd-shi[m]' && ! pgrep k3s && pgrep -x pipeops-agent && rc-service pipeops-agent status")
}
