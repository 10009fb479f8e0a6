package distro

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
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

// passingUnits are units of which the start ends a number of times before it succeeds.
type passingUnits struct {
	fakeUnits
	ends int
}

func (u *passingUnits) WaitActive(context.Context, string) error {
	if u.ends == 0 {
		return nil
	}
	u.ends--
	return errors.New("k3s.service does not start")
}

// TestWhatPassesIsTriedAgain: a start that ended of what the next may not meet again gets some more, and no other does.
func TestWhatPassesIsTriedAgain(t *testing.T) {
	const passes = startLine + nameLine + "panic: failed to normalize server token; must be in format K10<CA-HASH>::<USERNAME>:<PASSWORD> or <PASSWORD>\n"
	again := []string{"reset k3s.service", "restart k3s.service"}
	for _, tt := range []struct {
		name, said string
		ends       int
		want       reason.Code // "" means that it is up in the end
		calls      []string
	}{
		{"at once", "", 0, "", nil},
		{"once", passes, 1, "", again},
		{"twice", passes, 2, "", slices.Repeat(again, 2)},
		{"each time", passes, startsThatPass + 1, reason.K3sToken, slices.Repeat(again, startsThatPass)},
		{"of what stays", startLine + nameLine + fatalLine, 1, reason.HostDiskLow, nil},
	} {
		units := &passingUnits{fakeUnits{states: map[string]unit.State{}}, tt.ends}
		k := &k3sInstall{dataDir: k3sDataDir, Install: Install{Root: t.TempDir(), Units: units, LastWords: func(context.Context, string) string { return tt.said }}}
		err := service{Install: k.Install, name: "k3s.service", diagnose: k.diagnose}.prove(t.Context())
		if (err == nil) != (tt.want == "") || tt.want != "" && !reason.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if calls := units.since(); !slices.Equal(calls, tt.calls) {
			t.Errorf("%s: systemd was told %v, want %v", tt.name, calls, tt.calls)
		}
	}
}

// TestEmptyTokenIsTakenAway: k3s that ended while it wrote its token would end of the empty file at each start.
func TestEmptyTokenIsTakenAway(t *testing.T) {
	for name, tt := range map[string]struct {
		content *string
		stays   bool
	}{
		"none":  {nil, false},
		"empty": {new(string), false},
		"whole": {ptr("K10abc::server:def"), true},
	} {
		root := t.TempDir()
		k := &k3sInstall{dataDir: k3sDataDir, Install: Install{Root: root, Units: &fakeUnits{states: map[string]unit.State{}}}}
		file := filepath.Join(root, k3sDataDir, "server", "token")
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if tt.content != nil {
			if err := os.WriteFile(file, []byte(*tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := (service{Install: k.Install, name: "k3s.service", clear: k.clearToken}).startAnew(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(file); (err == nil) != tt.stays {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func ptr(s string) *string { return &s }

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
