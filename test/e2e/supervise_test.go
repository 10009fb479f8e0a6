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

	"github.com/pipeopshq/pipeops-agent/internal/supervise"
	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// services returns what the supervisor in the machine says of its services, by their names.
func services(ctx context.Context, m *lab.Machine) (supervise.Overview, map[string]supervise.Status, error) {
	var o supervise.Overview
	r, err := m.Exec(ctx, nil, "pipeops-agent", "services", "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(r.Stdout), &o)
	}
	if err != nil {
		return o, nil, fmt.Errorf("%w: %s%s", err, r.Stdout, r.Stderr)
	}
	all := map[string]supervise.Status{}
	for _, s := range o.Services {
		all[s.Name] = s
	}
	return o, all, nil
}

// connectedAgain waits until tunnel and cluster are as they should be.
func connectedAgain(t *testing.T, m *lab.Machine) {
	t.Helper()
	eventually(t, 2*time.Minute, "tunnel and cluster", func(ctx context.Context) error {
		return errors.Join(condition(ctx, m, "ClusterReachable", "True"), condition(ctx, m, "Tunnel", "True"))
	})
}

// TestSupervise installs where nobody starts services: the install starts the supervisor. Then it goes the whole way to a
// page; both processes, and the supervisor itself, are killed; the machine starts anew; and an uninstall leaves nothing.
func TestSupervise(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.machine(t, lab.Options{Bare: true})
	if err := w.PushSample(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	before := oracle(t, m)
	w.withAgent(t, m)
	secret := token(t, w.Gateway, m)
	result, err := m.Exec(t.Context(), nil, w.install("bare")...)
	if err != nil || result.Code != 0 {
		t.Fatalf("install: %v, exit code %d\n%s\n%s", err, result.Code, result.Told(),
			shell(t, m, "tail -n 60 /var/log/k3s.log /var/log/pipeops-agent*.log 2>&1; pipeops-agent services 2>&1; true"))
	}
	if said := result.Stdout + result.Stderr; !strings.Contains(said, "HOST_NO_SYSTEMD") && !strings.Contains(said, "Nothing starts the services of this machine when it starts") {
		t.Errorf("it does not say that nothing starts with the machine:\n%s", said)
	}
	shell(t, m, `test "$(stat -c %a /var/log/k3s.log /var/log/pipeops-agent.log /run/pipeops-agent/supervisor.sock /var/lib/pipeops-agent/services/k3s.json | tr '\n' ' ')" = "640 600 600 600 "`)
	w.deploy(t, m, "bare")

	t.Run("second install", func(t *testing.T) {
		shell(t, m, "rm "+rig.TokenFile)
		_, before, err := services(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		again, err := m.Exec(t.Context(), nil, w.install("bare")...)
		if err != nil || again.Code != 0 || !strings.Contains(again.Stdout+again.Stderr, "Nothing to change") {
			t.Errorf("%v, exit code %d\n%s%s", err, again.Code, again.Stdout, again.Stderr)
		}
		_, after, err := services(t.Context(), m)
		if err != nil || before["k3s"].PID != after["k3s"].PID || before["pipeops-agent"].PID != after["pipeops-agent"].PID {
			t.Errorf("%+v, %+v, %v", before, after, err)
		}
	})
	t.Run("no trace of the token", func(t *testing.T) { tokenIsNowhere(t, m, secret) })
	t.Run("killed services come back", func(t *testing.T) { killedServices(t, w, m) })
	t.Run("killed supervisor is followed", func(t *testing.T) { killedSupervisor(t, w, m) })
	t.Run("reboot", func(t *testing.T) {
		push(t, m, "#!/bin/sh\nexec /usr/local/bin/pipeops-agent run --supervise --background\n", lab.BareBoot)
		shell(t, m, "chmod 755 "+lab.BareBoot)
		if err := m.Reboot(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.pageAgain(t, "bare")
		shell(t, m, "rm "+lab.BareBoot)
	})
	t.Run("uninstall", func(t *testing.T) {
		uninstall(t, m, 0)
		eventually(t, 30*time.Second, "the supervisor has ended", func(ctx context.Context) error {
			_, err := m.Shell(ctx, "! pgrep -x pipeops-agent")
			return err
		})
		asBefore(t, m, before)
	})
}

// killedServices kills k3s and the agent: the supervisor must start them again, say so, and the pods live on.
func killedServices(t *testing.T, w *world, m *lab.Machine) {
	pod := shell(t, m, "pgrep -x web")
	_, all, err := services(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	shell(t, m, fmt.Sprintf("kill -9 %d %d", all["k3s"].PID, all["pipeops-agent"].PID))
	eventually(t, time.Minute, "both are started again", func(ctx context.Context) error {
		_, now, err := services(ctx, m)
		for _, name := range []string{"k3s", "pipeops-agent"} {
			if s := now[name]; err == nil && (s.Restarts != 1 || s.Active != "active" || s.PID == all[name].PID || s.Last == "") {
				err = fmt.Errorf("%+v", s)
			}
		}
		return err
	})
	connectedAgain(t, m)
	w.pageAgain(t, "bare")
	if now := shell(t, m, "pgrep -x web"); now != pod {
		t.Errorf("the pod was %s and is %s", pod, now)
	}
	if said := shell(t, m, "pipeops-agent status"); !strings.Contains(said, "started again 1 times, last end: killed by signal 9") {
		t.Errorf("status says\n%s", said)
	}
}

// killedSupervisor kills it, and one of its services with it: the next one takes over what runs and starts what does not.
func killedSupervisor(t *testing.T, w *world, m *lab.Machine) {
	o, all, err := services(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	shell(t, m, fmt.Sprintf("kill -9 %d %d", o.PID, all["pipeops-agent"].PID))
	r, err := m.Exec(t.Context(), nil, "pipeops-agent", "doctor")
	if err != nil || r.Code != 40 || !strings.Contains(r.Stdout, "SUPERVISOR_UNREACHABLE") {
		t.Errorf("doctor: %v, exit code %d\n%s%s", err, r.Code, r.Stdout, r.Stderr)
	}
	shell(t, m, "pipeops-agent run --supervise --background && pipeops-agent run --supervise --background")
	busy, err := m.Exec(t.Context(), nil, "pipeops-agent", "run", "--supervise")
	if err != nil || busy.Code != 75 {
		t.Errorf("a second one: %v, exit code %d\n%s", err, busy.Code, busy.Stderr)
	}
	eventually(t, time.Minute, "all run", func(ctx context.Context) error {
		_, now, err := services(ctx, m)
		switch {
		case err != nil:
			return err
		case now["k3s"].PID != all["k3s"].PID || !now["k3s"].Adopted || now["pipeops-agent"].Active != "active":
			return fmt.Errorf("%+v", now)
		}
		return nil
	})
	connectedAgain(t, m)
	w.pageAgain(t, "bare")
}

// TestSuperviseFirst has the supervisor as the first process, as the command of a container with its settings in the
// environment: it installs, and does so once. It survives a restart of the container, and an uninstall does not end it.
func TestSuperviseFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.machine(t, lab.Options{Bare: true})
	if err := w.PushSample(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	w.withAgent(t, m)
	token(t, w.Gateway, m)
	push(t, m, "#!/bin/sh\nexport "+strings.Join(w.Environment("first"), " ")+"\nexec /usr/local/bin/pipeops-agent run --supervise\n", lab.BareFirst)
	shell(t, m, "chmod 755 "+lab.BareFirst)
	restart := func() {
		t.Helper()
		if err := m.Reboot(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	restart()
	eventually(t, 2*time.Minute, "the install", func(ctx context.Context) error {
		return errors.Join(condition(ctx, m, "ClusterReachable", "True"), condition(ctx, m, "Tunnel", "True"))
	})
	w.deploy(t, m, "first")
	if o, _, err := services(t.Context(), m); err != nil || o.PID != 1 || !o.Stays {
		t.Errorf("%+v, %v", o, err)
	}
	shell(t, m, "rm "+rig.TokenFile+" && ! ps -eo stat= | grep -q Z")
	began := time.Now()
	restart()
	w.pageAgain(t, "first")
	t.Logf("the page is there again after %s", time.Since(began).Round(time.Millisecond))
	said := uninstall(t, m, 0)
	if !strings.Contains(said, "is the first one of this container and ends with it") {
		t.Error("it was not said that the supervisor stays")
	}
	shell(t, m, "test \"$(cat /proc/1/comm)\" = pipeops-agent && ! pgrep k3s && ! pgrep -f 'containerd-shi[m]' && test ! -e /var/lib/pipeops-agent && test ! -e /usr/local/bin/k3s")
}
