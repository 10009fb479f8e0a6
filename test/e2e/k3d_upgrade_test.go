//go:build e2e

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// nextK3d is the version of k3d that a later agent would bring.
const nextK3d = "v5.6.3"

// agentWithK3d builds the agent as it will be when it brings another version of k3d, which is all that differs.
func agentWithK3d(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	const file = "internal/distro/k3d.go"
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	was := `const K3dVersion = "` + distro.K3dVersion + `"`
	if strings.Count(string(source), was) != 1 {
		t.Fatalf("%s has no line %q", file, was)
	}
	replaced := filepath.Join(dir, "k3d.go")
	if err := os.WriteFile(replaced, []byte(strings.Replace(string(source), was, `const K3dVersion = "`+version+`"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	original, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{original: replaced}})
	if err != nil {
		t.Fatal(err)
	}
	trust, err := os.ReadFile(filepath.Join(rig.Dist, "trust.json"))
	if err != nil {
		t.Fatal(err)
	}
	list, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "pipeops-agent")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	const trusted = "-X github.com/pipeopshq/pipeops-agent/internal/artifact/manifest.compiled="
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-overlay", list,
		"-ldflags", "-s -w "+trusted+base64.StdEncoding.EncodeToString(trust), "-o", program, "./cmd/pipeops-agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// upgradedK3d runs the install again by an agent that brings another version of k3d: the tool is replaced, and the cluster
// goes on as it is.
func upgradedK3d(t *testing.T, w *world, m *lab.Machine) {
	t.Helper()
	const containers = `docker inspect -f '{{.Id}} {{.State.StartedAt}} {{.RestartCount}}' $(docker ps -aq --no-trunc --filter label=k3d.cluster=pipeops | sort)`
	before := shell(t, m, containers)
	if got := shell(t, m, "k3d version"); !strings.Contains(got, distro.K3dVersion) {
		t.Fatalf("the tool is %s", got)
	}
	if err := w.AddK3dProgram(t.Context(), nextK3d); err != nil {
		t.Fatal(err)
	}
	if err := m.Push(t.Context(), agentWithK3d(t, nextK3d), "/usr/local/bin/next"); err != nil {
		t.Fatal(err)
	}
	shell(t, m, "mv /usr/local/bin/next /usr/local/bin/pipeops-agent")     // the one that runs cannot be written to
	for _, want := range []string{"k3d " + nextK3d, "Nothing to change"} { // the second time
		result, err := m.Exec(t.Context(), nil, "pipeops-agent", "install")
		if err != nil || result.Code != 0 || !strings.Contains(result.Stdout+result.Stderr, want) {
			t.Fatalf("want %q: %v, exit code %d\n%s", want, err, result.Code, result.Told())
		}
	}
	if got := shell(t, m, "k3d version"); !strings.Contains(got, nextK3d) {
		t.Errorf("the tool is %s", got)
	}
	if after := shell(t, m, containers); before != after {
		t.Errorf("the cluster has changed\n%s", difference(before, after))
	}
}
