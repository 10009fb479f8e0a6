//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// following runs a command whose output is events, tells each as it comes, and returns what checkFailure wants.
func following(t *testing.T, m *lab.Machine, argv []string, on func(wire.Event)) lab.Result {
	t.Helper()
	var all, stderr bytes.Buffer
	events := &rig.Events{Show: on}
	code, err := m.ExecTo(t.Context(), nil, both{&all, events}, &stderr, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return lab.Result{Stdout: all.String(), Stderr: stderr.String(), Code: code}
}

type both struct {
	all    *bytes.Buffer
	events *rig.Events
}

func (b both) Write(p []byte) (int, error) {
	b.all.Write(p)
	return b.events.Write(p)
}

// TestBusy plays those who change a machine at its first boot. Who is waited for is named; after the time nothing was changed.
func TestBusy(t *testing.T) {
	w := newWorld(t)
	m := w.machine(t, lab.Options{})
	w.withAgent(t, m)
	token(t, w.Gateway, m)
	const (
		setup    = `mkdir -p /run/cloud-init && echo '{"v1":{"stage":"modules-final"}}' > /run/cloud-init/status.json`
		over     = "rm -r /run/cloud-init"
		holder   = `use Fcntl; open(F, "+>", "/var/lib/dpkg/lock-frontend"); $l = pack("s s x4 l! l! i x64", F_WRLCK, 0, 0, 0, 0); fcntl(F, F_SETLK, $l) or die; open(D, ">", "/run/locked"); sleep`
		nowhere  = "host.lab:1" // an install that did not wait ends here, with nothing changed
		reached  = "GATEWAY_UNREACHABLE"
		notSoon  = "HOST_PACKAGES_BUSY"
		identity = "/var/lib/pipeops-agent/identity/identity.json"
	)
	install := func(more ...string) []string {
		return w.install("busy", append([]string{"-o", "json", "--gateway", nowhere}, more...)...)
	}
	before := shell(t, m, fingerprint)

	t.Run("cloud-init does not end", func(t *testing.T) {
		shell(t, m, setup)
		result := following(t, m, install("--wait", "2s"), nil)
		checkFailure(t, result, notSoon, 75)
		if len(ofKindUntilError(result.Stdout, "waiting")) == 0 {
			t.Errorf("nobody was told that it waits:\n%s", result.Stdout)
		}
	})
	t.Run("its package manager is named", func(t *testing.T) {
		push(t, m, holder, "/root/holder.pl")
		shell(t, m, "systemd-run --quiet --unit holder perl /root/holder.pl")
		eventually(t, 20*time.Second, "the lock of dpkg", func(ctx context.Context) error {
			_, err := m.Shell(ctx, "test -e /run/locked")
			return err
		})
		result := following(t, m, install("--wait", "1s"), nil)
		checkFailure(t, result, notSoon, 75)
		if !strings.Contains(result.Stdout, "perl (process ") || !strings.Contains(result.Stdout, "holds the lock of apt") {
			t.Errorf("the holder is not named:\n%s", result.Stdout)
		}
	})
	t.Run("cloud-init ends", func(t *testing.T) {
		result := following(t, m, install(), func(e wire.Event) {
			if e.Kind == "waiting" && strings.HasPrefix(e.Message, "Waiting") {
				shell(t, m, over)
			}
		})
		checkFailure(t, result, reached, 50)
		if waits := ofKindUntilError(result.Stdout, "waiting"); len(waits) < 2 || !strings.Contains(waits[len(waits)-1], "Free after") {
			t.Errorf("it does not tell of the end: %q", waits)
		}
	})
	t.Run("a package manager that is not needed", func(t *testing.T) { // perl still holds the lock
		checkFailure(t, following(t, m, install("--wait", "0"), nil), reached, 50)
		shell(t, m, "systemctl stop holder")
	})
	t.Run("cloud-init runs us", func(t *testing.T) {
		shell(t, m, setup)
		argv := append([]string{"systemd-run", "--quiet", "--unit", "cloud-final", "--wait", "--pipe", "--collect"}, install()...)
		result := following(t, m, argv, nil)
		checkFailure(t, result, reached, 50)
		if waits := ofKindUntilError(result.Stdout, "waiting"); len(waits) > 0 {
			t.Errorf("it waited for itself: %q", waits)
		}
		shell(t, m, over)
	})
	t.Run("another install", func(t *testing.T) {
		argv := append([]string{"flock", "/var/lib/pipeops-agent/lock"}, install()...)
		checkFailure(t, following(t, m, argv, nil), "BUSY", 75)
	})
	shell(t, m, "test ! -e "+identity)
	if after := shell(t, m, fingerprint); after != before {
		t.Errorf("the machine is not as it was:\n%s", difference(before, after))
	}
}

// ofKindUntilError returns the messages of the events of a kind; the last line may be an error.
func ofKindUntilError(lines, kind string) []string {
	var messages []string
	events := &rig.Events{Show: func(e wire.Event) {
		if e.Kind == kind {
			messages = append(messages, e.Message)
		}
	}}
	_, _ = events.Write([]byte(lines))
	return messages
}

// TestFailures lets one machine fail in the middle of an install by everything that can go away there, each time with one named
// error, and takes the cause away. After the last one the same command ends well.
func TestFailures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.machine(t, lab.Options{})
	w.withAgent(t, m)
	shell(t, m, "mv /usr/local/bin/pipeops-agent /usr/bin/ && mkdir -p /var/lib/pipeops-agent && mount -t tmpfs -o size=3g,mode=700 tmpfs /var/lib/pipeops-agent")
	if err := w.PushSample(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	token(t, w.Gateway, m)
	install := w.install("failing", "-o", "json")
	slow := func(rate int64) {
		w.Mirror.Inject(lab.Fault{Pattern: rig.K3sPath + "/k3s*", Rate: rate})
	}
	during := func(step, script string) func(wire.Event) {
		return func(e wire.Event) {
			if e.Step == step && e.State == "started" {
				shell(t, m, script)
			}
		}
	}
	before := shell(t, m, fingerprint)
	asBefore := func(t *testing.T) {
		t.Helper()
		if after := shell(t, m, fingerprint); after != before {
			t.Errorf("the machine is not as it was:\n%s", difference(before, after))
		}
	}

	t.Run("no space for the download", func(t *testing.T) {
		slow(400_000)
		result := following(t, m, install, during("k3s-download", "mount -o remount,size=8m /var/lib/pipeops-agent"))
		checkFailure(t, result, "DOWNLOAD_NO_SPACE", 20)
		w.Mirror.Mend()
		asBefore(t)
		shell(t, m, "mount -o remount,size=3g /var/lib/pipeops-agent")
	})
	t.Run("usr local becomes read-only", func(t *testing.T) {
		slow(20_000_000)
		result := following(t, m, install, during("k3s-download", "mount --bind /usr/local /usr/local && mount -o remount,ro,bind /usr/local"))
		checkFailure(t, result, "STEP_FAILED", 30)
		if !strings.Contains(result.Stdout, "read-only file system") {
			t.Errorf("the cause is not told:\n%s", result.Stdout)
		}
		w.Mirror.Mend()
		shell(t, m, "umount /usr/local")
		asBefore(t)
	})
	t.Run("a step that cannot be undone", func(t *testing.T) {
		// k3s does not come up with a flag that it does not know, and the folder of its unit cannot be written any more
		shell(t, m, "mkdir -p /etc/rancher/k3s/config.yaml.d && echo 'no-such-flag: 1' > /etc/rancher/k3s/config.yaml.d/99-bad.yaml")
		shell(t, m, `systemd-run --quiet --unit freezer sh -c 'until [ -e /etc/systemd/system/k3s.service ]; do :; done; mount --bind /etc/systemd/system /etc/systemd/system && mount -o remount,ro,bind /etc/systemd/system'`)
		result := following(t, m, install, nil)
		checkFailure(t, result, "STEP_NOT_ROLLED_BACK", 31)
		shell(t, m, "umount /etc/systemd/system; rm -r /etc/rancher/k3s/config.yaml.d")
	})
	t.Run("the gateway goes away", func(t *testing.T) {
		result := following(t, m, install, func(e wire.Event) {
			if e.Step == "k3s-unit" && e.State == "started" {
				if err := w.Gateway.Stop(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
		checkFailure(t, result, "GATEWAY_UNREACHABLE", 50)
		if err := w.Gateway.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	result, err := m.Exec(t.Context(), nil, install...)
	if err != nil || result.Code != 0 {
		t.Fatalf("with all causes gone: %v, exit code %d\n%s", err, result.Code, result.Told())
	}
	w.deploy(t, m, "failing")
	t.Run("the cluster goes away", func(t *testing.T) {
		shell(t, m, "systemctl stop k3s")
		doctor, err := m.Exec(t.Context(), nil, "pipeops-agent", "doctor", "-o", "json")
		if err != nil || doctor.Code != 40 || !strings.Contains(doctor.Stdout, "CLUSTER_UNHEALTHY") {
			t.Errorf("%v, exit code %d\n%s%s", err, doctor.Code, doctor.Stdout, doctor.Stderr)
		}
	})
}
