package distro

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	units "github.com/pipeopshq/pipeops-agent/systemd"
)

func TestAgentService(t *testing.T) {
	const binary = "/usr/local/bin/pipeops-agent"
	b := newBench(t)
	b.write(binary, "the agent")
	run := func(input string, want ...string) {
		t.Helper()
		step, err := AgentService(b.in, binary, input)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.runSteps([]plan.Step{step}, nil); err != nil {
			t.Fatal(err)
		}
		if got := b.units.since(); !slices.Equal(got, want) {
			t.Errorf("systemd was told %v, want %v", got, want)
		}
	}
	start := []string{"reload", "enable pipeops-agent.service", "reset pipeops-agent.service", "restart pipeops-agent.service"}
	run("config", start...)
	if got := b.read("/etc/systemd/system/" + units.Agent); !strings.Contains(got, "\nExecStart="+binary+" run\n") {
		t.Error(got)
	}
	run("config")
	run("another config", start...)
	b.write(binary, "a newer agent")
	run("another config", start...)
}

func TestAgentServiceOfAPackage(t *testing.T) {
	const binary = "/usr/bin/pipeops-agent"
	b := newBench(t)
	b.write(binary, "the agent")
	packaged, err := units.AgentUnit(binary)
	if err != nil {
		t.Fatal(err)
	}
	b.write("/usr/lib/systemd/system/"+units.Agent, string(packaged))
	step, err := AgentService(b.in, binary)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.runSteps([]plan.Step{step}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(b.in.path("/etc/systemd/system/" + units.Agent)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the package's unit is hidden by ours: %v", err)
	}
}

func TestTelling(t *testing.T) {
	for log, want := range map[string]string{
		"":                                "",
		"a\nb\nc\nd\ne\n":                 "c; d; e",
		"level=fatal msg=x\ninfo\ninfo\n": "level=fatal msg=x",
	} {
		if got := telling(log); got != want {
			t.Errorf("%q: %q, want %q", log, got, want)
		}
	}
	if got := telling("start " + strings.Repeat("é", 1000)); len(got) > maxWords+3 || !strings.HasPrefix(got, "...") {
		t.Errorf("%d bytes: %.20s", len(got), got)
	}
}
