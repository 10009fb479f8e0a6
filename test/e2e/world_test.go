//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// world is what a test works with: the rig around the lab, and a stock kubectl.
type world struct {
	*rig.Rig
	kubectl string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the tests in machines need root: sudo make e2e")
	}
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		t.Fatal("the tests in machines need a kubectl in PATH")
	}
	r, err := rig.Start(t.Context(), ".", filepath.Join(t.TempDir(), "rig"), func(message string) { t.Log(message) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := r.Close(ctx); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			log, _ := os.ReadFile(r.Gateway.LogFile())
			t.Logf("log of the gateway:\n%s", log)
		}
	})
	return &world{r, kubectl}
}

// machine boots a pristine machine that is taken down with the test.
func (w *world) machine(t *testing.T, opts lab.Options) *lab.Machine {
	t.Helper()
	name := "e2e-" + strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(t.Name(), "Test")), "/", "-")
	m, err := w.Lab.Up(t.Context(), name[:min(len(name), 20)], opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("PIPEOPS_E2E_KEEP") != "" {
			t.Logf("machine %s is kept", m.Name)
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := m.Down(ctx); err != nil {
			t.Error(err)
		}
	})
	return m
}

// withAgent puts the agent's program into the machine.
func (w *world) withAgent(t *testing.T, m *lab.Machine) {
	t.Helper()
	if err := m.Push(t.Context(), filepath.Join(rig.Dist, "pipeops-agent-linux-"+rig.Arch()), "/usr/local/bin/pipeops-agent"); err != nil {
		t.Fatal(err)
	}
}

// token makes a join token at the gateway and puts it into the machine.
func token(t *testing.T, g *rig.Gateway, m *lab.Machine, args ...string) string {
	t.Helper()
	token := command(t, g, append([]string{"token", "create"}, args...)...)
	push(t, m, token+"\n", rig.TokenFile)
	return token
}

// command runs a command of the gateway's and wants it to succeed.
func command(t *testing.T, g *rig.Gateway, args ...string) string {
	t.Helper()
	out, err := g.Run(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// kubectlFor returns a function that makes commands of the stock kubectl on this side, through the gateway.
func (w *world) kubectlFor(t *testing.T, cluster string) func(args ...string) *exec.Cmd {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, []byte(command(t, w.Gateway, "kubeconfig", cluster)), 0o600); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	return func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), w.kubectl, append([]string{"--kubeconfig", path}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+home)
		return cmd
	}
}

// output runs a command on this side and wants it to succeed.
func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

// shell runs a line of shell in the machine and wants it to succeed.
func shell(t *testing.T, m *lab.Machine, script string) string {
	t.Helper()
	out, err := m.Shell(t.Context(), script)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// eventually waits until the condition holds and fails the test with its last error if it does not in time.
func eventually(t *testing.T, limit time.Duration, what string, holds func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var last error
	err := lab.WaitFor(ctx, what, func(ctx context.Context) (bool, error) {
		err := holds(ctx)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			last = err
		}
		return err == nil, nil
	})
	if err != nil {
		t.Fatalf("%v: %v", err, last)
	}
}
