//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// everything is what a dry run could change: files with their times and contents, names of folders, the settings of the kernel,
// rules of packet filters, units, packages, users, modules, links and mounts.
const everything = `find /etc /usr /var /opt /root /home /srv -xdev ! -path '/var/log/journal/*' \( -type f -printf '%p %m %u %g %s %T@ %l\n' -o -printf '%p %m %u %g %l\n' \) | sort
find /etc /var/lib -xdev -type f | sort | xargs -d '\n' sha256sum
sysctl -a --pattern '^(net\.(ipv4|ipv6|bridge|core|netfilter\.nf_conntrack_max)|vm|fs\.inotify|kernel\.(panic|keys|pid_max|core_pattern))' 2>/dev/null
nft list ruleset 2>/dev/null; iptables-save 2>/dev/null | grep -v '^#'
systemctl list-units --all --plain --no-legend --no-pager | awk '{print $1,$2,$3}' | grep -v '^run-\|^session\|\.device' ; systemctl list-unit-files --no-legend --no-pager
dpkg -l; getent passwd; getent group; awk '{print $1}' /proc/modules 2>/dev/null | sort; ip -o link | awk '{print $2}'; awk '{print $5,$9}' /proc/self/mountinfo; ls -A /run/pipeops-agent 2>/dev/null; true`

// unliving is the part of it that a running cluster and a running agent leave alone by themselves.
const unliving = `find /etc /usr /opt /root /home /srv /var/lib/pipeops-agent -xdev ! -name health.json \( -type f -printf '%p %m %u %g %s %T@ %l\n' -o ! -type d -printf '%p %m %u %g %l\n' \) | sort
find /etc /var/lib/pipeops-agent -xdev -type f ! -name health.json | sort | xargs -d '\n' sha256sum
sysctl fs.inotify 2>/dev/null
systemctl show -p InvocationID,MainPID,NRestarts k3s pipeops-agent; systemctl list-unit-files --no-legend --no-pager | grep -v transient; dpkg -l; getent passwd; getent group`

// TestRerun installs once with every setting and then runs the command again and again: with no flag, with one, after an edit of
// the file, dry. Only what differs is told, changed and started anew.
func TestRerun(t *testing.T) {
	w := newWorld(t)
	m := w.machine(t, lab.Options{})
	w.withAgent(t, m)
	token(t, w.Gateway, m)
	first := w.install("again", "-o", "json", "--tls-san", "one.example.com", "--consent", "package")

	t.Run("dry run of the first", func(t *testing.T) {
		result := changesNothing(t, m, everything, append(slices.Clone(first[:len(first)-6]), "--dry-run", "--tls-san", "one.example.com"))
		for _, step := range []string{"k3s-binary", "k3s-unit", "agent-config"} {
			if !stepIs(result.Stdout, step, "would run") {
				t.Errorf("it does not say that %s would run:\n%s", step, result.Stdout)
			}
		}
		shell(t, m, "test ! -e /var/lib/pipeops-agent")
		shell(t, m, "useradd -m somebody")
		nobody := append([]string{"runuser", "-u", "somebody", "--"}, append(slices.Clone(first[:len(first)-6]), "--dry-run")...)
		if result := changesNothing(t, m, everything, nobody); !strings.Contains(result.Stdout, "Without root") {
			t.Errorf("without root: %s", result.Told())
		}
	})

	reexecuted := false
	result := following(t, m, first, func(e wire.Event) {
		if e.Step == "k3s-unit" && e.State == "started" { // systemd closes all connections, as when its package is upgraded
			shell(t, m, "systemctl daemon-reexec")
			reexecuted = true
		}
	})
	if result.Code != 0 || !reexecuted {
		t.Fatalf("exit code %d, systemd executed anew: %v\n%s", result.Code, reexecuted, result.Told())
	}
	shell(t, m, "rm "+rig.TokenFile)
	if events := ofKind(t, result.Stdout, "settings"); len(events) > 0 {
		t.Errorf("the first install differs from nothing: %v", events)
	}

	for _, tt := range []struct {
		name       string
		before     string // shell
		flags      []string
		want       string // of the event, after its first line; "" means that there is none
		k3s, agent bool   // started anew
	}{
		{name: "no flag"},
		{name: "a name more", flags: []string{"--tls-san", "+api.example.com"}, want: "tls-san: + api.example.com", k3s: true},
		{name: "edited by hand", before: "sed -i 's/^consent:.*/consent: []/; /^- package$/d' /etc/pipeops-agent/config.yaml; echo '# mine' >> /etc/pipeops-agent/config.yaml", want: "consent: package -> (none)"},
		{name: "no name", flags: []string{"--tls-san", ""}, want: "tls-san: one.example.com,api.example.com -> (none)", k3s: true},
		{name: "a newer agent", before: "cp /usr/local/bin/pipeops-agent /tmp/a && echo >> /tmp/a && mv /tmp/a /usr/local/bin/pipeops-agent", agent: true},
		{name: "no flag again"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.before != "" {
				shell(t, m, tt.before)
			}
			k3s, agent := invocation(t, m, "k3s"), invocation(t, m, "pipeops-agent")
			result, err := m.Exec(t.Context(), nil, append([]string{"pipeops-agent", "install", "-o", "json"}, tt.flags...)...)
			if err != nil || result.Code != 0 {
				t.Fatalf("%v, exit code %d\n%s", err, result.Code, result.Told())
			}
			checkDifference(t, result.Stdout, tt.want)
			if got := invocation(t, m, "k3s") != k3s; got != tt.k3s {
				t.Errorf("k3s was started anew: %v", got)
			}
			if got := invocation(t, m, "pipeops-agent") != agent; got != tt.agent {
				t.Errorf("the agent was started anew: %v", got)
			}
		})
	}
	if file := shell(t, m, "cat /etc/pipeops-agent/config.yaml; cat /etc/rancher/k3s/config.yaml"); strings.Contains(file, "example.com") ||
		!strings.Contains(file, "mirror: "+w.Mirror.URL()) || !strings.Contains(file, "k3s_version: "+rig.K3sVersion) {
		t.Errorf("the settings are\n%s", file)
	}

	t.Run("dry run of the last", func(t *testing.T) {
		result := changesNothing(t, m, unliving, []string{"pipeops-agent", "install", "--dry-run", "--tls-san", "two.example.com"})
		if want := "tls-san: + two.example.com (starts k3s anew)"; !strings.Contains(result.Stdout, want) {
			t.Errorf("it does not say %q:\n%s", want, result.Stdout)
		}
		for step, state := range map[string]string{"k3s-binary": "unchanged", "k3s-config": "would run", "k3s-unit": "would run", "agent-unit": "unchanged"} {
			if !stepIs(result.Stdout, step, state) {
				t.Errorf("it does not say that %s is %s:\n%s", step, state, result.Stdout)
			}
		}
		if strings.Contains(result.Stdout, "k3s download") {
			t.Errorf("a download is no proof:\n%s", result.Stdout)
		}
		result = changesNothing(t, m, unliving, []string{"pipeops-agent", "install", "--dry-run", "-o", "json"})
		var plan struct{ Steps []struct{ ID, State string } }
		if err := json.Unmarshal([]byte(result.Stdout), &plan); err != nil || len(plan.Steps) < 10 {
			t.Fatalf("%v: %s", err, result.Stdout)
		}
		for _, s := range plan.Steps {
			if s.State != "unchanged" && s.State != "would be proved" {
				t.Errorf("step %s: %s", s.ID, s.State)
			}
		}
	})
}

// stepIs reports whether the list of steps of a dry run shows a step in a state.
func stepIs(shown, step, state string) bool {
	return regexp.MustCompile(`(?m)^[ a-zA-Z]{13}` + regexp.QuoteMeta(step) + " +" + regexp.QuoteMeta(state) + " ").MatchString(shown)
}

// changesNothing runs a command that ends well, and wants what is listed of the machine to be as it was.
func changesNothing(t *testing.T, m *lab.Machine, what string, argv []string) lab.Result {
	t.Helper()
	before := shell(t, m, what)
	result, err := m.Exec(t.Context(), nil, argv...)
	if err != nil || result.Code != 0 {
		t.Errorf("%q: %v, exit code %d\n%s", argv, err, result.Code, result.Told())
	}
	if after := shell(t, m, what); after != before {
		t.Errorf("%q has changed the machine:\n%s", argv, difference(before, after))
	}
	return result
}

func invocation(t *testing.T, m *lab.Machine, unit string) string {
	t.Helper()
	return shell(t, m, "systemctl show --property InvocationID,ActiveEnterTimestampMonotonic "+unit)
}

// ofKind returns the events of a kind out of lines of JSON.
func ofKind(t *testing.T, lines, kind string) []wire.Event {
	t.Helper()
	var events []wire.Event
	for line := range bytes.Lines([]byte(lines)) {
		var e wire.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%q is no event: %v", line, err)
		}
		if e.Kind == kind {
			events = append(events, e)
		}
	}
	return events
}

// checkDifference wants one event that tells of this difference, before any step, or none.
func checkDifference(t *testing.T, lines, want string) {
	t.Helper()
	events := ofKind(t, lines, "settings")
	if want == "" {
		if len(events) > 0 {
			t.Errorf("it tells of %q", events[0].Message)
		}
		return
	}
	if len(events) != 1 || !strings.HasPrefix(events[0].Message+"\n", "Settings that change:\n  "+want+"\n") {
		t.Fatalf("%v, want %q", events, want)
	}
	steps := ofKind(t, lines, "step")
	if len(steps) == 0 || steps[0].Time.Before(events[0].Time) {
		t.Error("it was told after the first step")
	}
}
