//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
	"github.com/pipeopshq/pipeops-agent/test/lab"
)

// TestCauses breaks k3s in ways that no probe sees before it starts. Each must end with the code of its cause, exit code 30, the
// telling words of k3s and without a unit; once it is mended the same install goes through.
func TestCauses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.machine(t, lab.Options{})
	w.withAgent(t, m)
	token(t, w.Gateway, m)
	tests := []struct {
		name, breaks, mends string
		code, shows         string
	}{
		{
			name: "configuration of somebody else", code: "K3S_CONFIG", shows: "yaml: ",
			breaks: "mkdir -p /etc/rancher/k3s/config.yaml.d && echo 'disable: [x' > /etc/rancher/k3s/config.yaml.d/99-mine.yaml",
			mends:  "rm -r /etc/rancher/k3s/config.yaml.d",
		},
		{
			name: "no program may be run", code: "K3S_NOEXEC", shows: "k3s-server",
			breaks: "mkdir -p /var/lib/rancher && mount --bind /var/lib/rancher /var/lib/rancher && mount -o remount,bind,noexec /var/lib/rancher",
			mends:  "umount /var/lib/rancher",
		},
		{
			// the port is free when the probes look, and is taken as soon as the configuration is there
			name: "port taken meanwhile", code: "NET_PORT_TAKEN", shows: "is held by openssl",
			breaks: "rm -f /etc/rancher/k3s/config.yaml; systemd-run --quiet --unit squatter --path-property=PathExists=/etc/rancher/k3s/config.yaml openssl s_server -accept 6443 -nocert",
			mends:  "systemctl stop squatter.path squatter.service; until ! ss -ltn | grep -q :6443; do :; done",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shell(t, m, tt.breaks)
			result, err := m.Exec(t.Context(), nil, w.install("caused", "-o", "json")...)
			if err != nil {
				t.Fatal(err)
			}
			shell(t, m, tt.mends)
			checkFailure(t, result, tt.code, 30)
			lines := strings.Split(strings.TrimSpace(result.Stdout), "\n")
			var last map[string]console.Failure
			if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || !strings.Contains(last["error"].Evidence, tt.shows) {
				t.Errorf("%q is not in the evidence: %+v, %v", tt.shows, last["error"], err)
			}
			told := false
			for _, line := range lines {
				var e wire.Event
				told = told || json.Unmarshal([]byte(line), &e) == nil && e.Step == "k3s-unit" && e.State == "failed" && e.Code == tt.code
			}
			if !told {
				t.Errorf("no event of the step tells %s:\n%s", tt.code, result.Stdout)
			}
			shell(t, m, `test ! -e /etc/systemd/system/k3s.service && test "$(systemctl is-active k3s || true)" = inactive && ! pgrep -x k3s-server`)
		})
	}
	result, err := m.Exec(t.Context(), nil, w.install("caused")...)
	if err != nil || result.Code != 0 {
		t.Fatalf("once it is mended: %v, exit code %d\n%s", err, result.Code, result.Told())
	}

	t.Run("doctor", func(t *testing.T) { // the cluster works, and then its token is another one
		shell(t, m, "mkdir -p /etc/rancher/k3s/config.yaml.d && echo 'token: another' > /etc/rancher/k3s/config.yaml.d/99-mine.yaml")
		shell(t, m, "systemctl stop k3s; systemctl start --no-block k3s; until journalctl -u k3s --boot -o cat | grep -q 'different token'; do :; done")
		eventually(t, time.Minute, "doctor names the cause", func(ctx context.Context) error {
			result, err := m.Exec(ctx, nil, "pipeops-agent", "doctor", "-o", "json")
			switch {
			case err != nil:
				return err
			case result.Code != 40 || !strings.Contains(result.Stdout, `"K3S_TOKEN"`):
				return fmt.Errorf("exit code %d: %s", result.Code, result.Stdout)
			}
			return nil
		})
	})
}
