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

	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// agentWith builds the agent that brings another version of the tool of such a distribution, which is all that differs.
func agentWith(t *testing.T, d inDocker, version string) string {
	t.Helper()
	dir := t.TempDir()
	file := "internal/distro/" + d.name + ".go"
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	constant := strings.ToUpper(d.name[:1]) + d.name[1:] + `Version = "`
	was := "const " + constant + d.version + `"`
	if strings.Count(string(source), was) != 1 {
		t.Fatalf("%s has no line %q", file, was)
	}
	replaced := filepath.Join(dir, "replaced.go")
	if err := os.WriteFile(replaced, []byte(strings.Replace(string(source), was, "const "+constant+version+`"`, 1)), 0o600); err != nil {
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

// pushAgent puts a program into the machine as its agent, also while one runs, which cannot be written to.
func pushAgent(t *testing.T, m *lab.Machine, program string) {
	t.Helper()
	if err := m.Push(t.Context(), program, "/usr/local/bin/next"); err != nil {
		t.Fatal(err)
	}
	shell(t, m, "mv /usr/local/bin/next /usr/local/bin/pipeops-agent")
}

// upgradedIn runs the install again by an agent that brings another version of the tool: it is replaced, and the cluster
// goes on as it is.
func upgradedIn(t *testing.T, m *lab.Machine, d inDocker, from, to, agent string) {
	t.Helper()
	containers := `docker inspect -f '{{.Id}} {{.State.StartedAt}} {{.RestartCount}}' $(docker ps -aq --no-trunc --filter label=` + d.label + `=pipeops | sort)`
	before := shell(t, m, containers)
	if got := shell(t, m, d.name+" version"); !strings.Contains(got, from) {
		t.Fatalf("the tool is %s, not %s", got, from)
	}
	pushAgent(t, m, agent)
	for _, want := range []string{d.name + " " + to, "Nothing to change"} { // the second time
		result, err := m.Exec(t.Context(), nil, "pipeops-agent", "install")
		if err != nil || result.Code != 0 || !strings.Contains(result.Stdout+result.Stderr, want) {
			t.Fatalf("want %q: %v, exit code %d\n%s", want, err, result.Code, result.Told())
		}
	}
	if got := shell(t, m, d.name+" version"); !strings.Contains(got, to) {
		t.Errorf("the tool is %s, not %s", got, to)
	}
	if after := shell(t, m, containers); before != after {
		t.Errorf("the cluster has changed\n%s", difference(before, after))
	}
}
