//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// fingerprint lists what an install could leave behind: files below the places where it writes, units and links.
const fingerprint = `find /etc /usr/local /usr/lib/systemd /opt /var/lib/rancher /var/lib/kubelet /var/lib/cni -xdev ! -path /etc/mtab 2>/dev/null | sort
find /etc -xdev -type f | sort | xargs sha256sum
systemctl list-unit-files --no-legend --no-pager
sysctl fs.inotify 2>/dev/null`

// TestRefusals gives one machine every bad input in turn. Each must give its one clear error and leave the machine as it was.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	g := w.Gateway
	other, err := rig.StartGateway(t.Context(), rig.GatewayProgram("."), filepath.Join(t.TempDir(), "other"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := other.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	m := w.machine(t, lab.Options{})
	w.withAgent(t, m)
	shell(t, m, "useradd -m somebody && mkdir -p /var/lib/rancher") // before the first fingerprint
	release := rig.K3sPath

	tests := []struct {
		name    string
		prepare func(t *testing.T)
		install []string // further arguments
		as      string   // user; empty means root
		repair  string   // shell
		code    string
		exit    int
	}{
		{name: "not root", as: "somebody", code: "HOST_NOT_ROOT", exit: 10},
		{name: "no token", prepare: func(t *testing.T) { shell(t, m, "rm -f "+rig.TokenFile) }, code: "USAGE", exit: 2},
		{name: "torn token", prepare: func(t *testing.T) { shell(t, m, "echo pat_12.ab > "+rig.TokenFile) }, code: "TOKEN_MALFORMED", exit: 50},
		{name: "unknown token", prepare: func(t *testing.T) {
			known, err := wire.ParseToken(token(t, g, m))
			if err != nil {
				t.Fatal(err)
			}
			unknown := wire.NewToken(nil)
			unknown.CA = known.CA
			push(t, m, unknown.Reveal(), rig.TokenFile)
		}, code: "TOKEN_UNKNOWN", exit: 50},
		{name: "gateway with another CA", prepare: func(t *testing.T) { token(t, other, m) }, code: "GATEWAY_UNTRUSTED", exit: 50},
		{name: "unreachable gateway", prepare: func(t *testing.T) { token(t, g, m) }, install: []string{"--gateway", "host.lab:1"}, code: "GATEWAY_UNREACHABLE", exit: 50},
		{name: "bad cluster name", prepare: func(t *testing.T) { token(t, g, m) }, install: []string{"--cluster", "Not_A_Name"}, code: "USAGE", exit: 2},
		{name: "unknown distribution", install: []string{"--distro", "k9s"}, code: "USAGE", exit: 2},
		{name: "port taken", prepare: func(t *testing.T) {
			shell(t, m, "systemd-run --unit squatter --quiet openssl s_server -accept 6443 -nocert")
			shell(t, m, "until ss -ltn | grep -q :6443; do :; done")
		}, repair: "systemctl stop squatter; until ! ss -ltn | grep -q :6443; do :; done", code: "NET_PORT_TAKEN", exit: 10},
		{name: "nothing to adopt", install: []string{"--distro", "existing"}, code: "CLUSTER_NONE", exit: 10},
		{name: "debris of another k3s", prepare: func(t *testing.T) {
			shell(t, m, "mkdir -p /var/lib/rancher/k3s/server/db && touch /var/lib/rancher/k3s/server/db/state.db")
		}, repair: "rm -r /var/lib/rancher/k3s", code: "CLUSTER_DEBRIS", exit: 10},
		{name: "full disk", prepare: func(t *testing.T) {
			shell(t, m, "mkdir -p /var/lib/pipeops-agent && mount -t tmpfs -o size=20m tmpfs /var/lib/pipeops-agent")
		}, repair: "umount /var/lib/pipeops-agent", code: "HOST_DISK_LOW", exit: 10},
		{name: "disk in memory", prepare: func(t *testing.T) {
			shell(t, m, "mount -t tmpfs -o size=8g tmpfs /var/lib/rancher")
		}, repair: "umount /var/lib/rancher", code: "HOST_DISK_TYPE", exit: 10},
		{name: "wrong digest", prepare: func(t *testing.T) {
			w.Mirror.Inject(lab.Fault{Pattern: release + "/k3s", Wrong: true})
		}, code: "DOWNLOAD_DIGEST", exit: 20},
		{name: "cut download", prepare: func(t *testing.T) {
			w.Mirror.Inject(lab.Fault{Pattern: release + "/k3s", Cut: 1000})
		}, code: "DOWNLOAD_TRUNCATED", exit: 20},
		{name: "release not there", install: []string{"--k3s-version", "v1.33.99+k3s1"}, code: "MANIFEST_LACKS", exit: 20},
	}
	before := shell(t, m, fingerprint)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.prepare != nil {
				tt.prepare(t)
			}
			argv := w.install("refused", append([]string{"-o", "json"}, tt.install...)...)
			if tt.as != "" {
				argv = append([]string{"runuser", "-u", tt.as, "--"}, argv...)
			}
			result, err := m.Exec(t.Context(), nil, argv...)
			if err != nil {
				t.Fatal(err)
			}
			w.Mirror.Mend()
			if tt.repair != "" {
				shell(t, m, tt.repair)
			}
			checkFailure(t, result, tt.code, tt.exit)
			if after := shell(t, m, fingerprint); after != before {
				t.Errorf("the machine is not as it was:\n%s", difference(before, after))
			}
		})
	}
	t.Run("used token", func(t *testing.T) { // the wrong digest above came after the enrolment: that token is used up
		token(t, g, m)
		shell(t, m, "cp -a /var/lib/pipeops-agent /root/saved && rm -r /var/lib/pipeops-agent")
		used := token(t, g, m)
		checkInstall := func(cluster, code string) {
			result, err := m.Exec(t.Context(), nil, w.install(cluster, "-o", "json", "--k3s-version", "v1.33.99+k3s1")...)
			if err != nil {
				t.Fatal(err)
			}
			checkFailure(t, result, code, map[string]int{"MANIFEST_LACKS": 20, "TOKEN_USED": 50}[code])
		}
		checkInstall("first", "MANIFEST_LACKS") // enrolled, then stopped by the manifest
		shell(t, m, "rm -r /var/lib/pipeops-agent")
		push(t, m, used, rig.TokenFile)
		checkInstall("second", "TOKEN_USED")
	})
}

// checkFailure wants exactly one error, as JSON, with its code and exit code, evidence and fix.
func checkFailure(t *testing.T, result lab.Result, code string, exit int) {
	t.Helper()
	var last map[string]json.RawMessage
	lines := strings.Split(strings.TrimSpace(result.Stdout), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatalf("the last line is no JSON: %v\n%s", err, result.Told())
	}
	var failure console.Failure
	if err := json.Unmarshal(last["error"], &failure); err != nil {
		t.Fatalf("the last line holds no error: %s", lines[len(lines)-1])
	}
	if failure.Code != code || result.Code != exit {
		t.Errorf("got %s and exit code %d, want %s and %d\n%s", failure.Code, result.Code, code, exit, result.Told())
	}
	if failure.Evidence == "" || failure.Fix == "" {
		t.Errorf("the error lacks evidence or fix: %+v", failure)
	}
	if strings.Contains(result.Stdout+result.Stderr, "goroutine ") {
		t.Errorf("a panic:\n%s", result.Stderr)
	}
}

func push(t *testing.T, m *lab.Machine, text, path string) {
	t.Helper()
	if err := m.PushBytes([]byte(text), path, 0o600); err != nil {
		t.Fatal(err)
	}
}

// difference lists the lines that only one of two texts has.
func difference(before, after string) string {
	count := map[string]int{}
	for line := range strings.Lines(before) {
		count[line]--
	}
	for line := range strings.Lines(after) {
		count[line]++
	}
	var b strings.Builder
	for line, n := range count {
		switch {
		case n < 0:
			b.WriteString("- " + line)
		case n > 0:
			b.WriteString("+ " + line)
		}
	}
	return b.String()
}
