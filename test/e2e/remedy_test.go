//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/test/lab"
)

// The networks of pods and of services that k3s has if nothing else is said.
const podNetworks = "10.42.0.0/16 10.43.0.0/16"

// firewall is one that is on when a machine is installed.
type firewall struct {
	pkg    string // of Debian, and id of the remedy
	on     string // shell: switches it on
	forget string // shell: removes what the remedy has added
	show   string // shell: prints the rules
	want   []string
}

func TestRemedyUFW(t *testing.T) {
	throughFirewall(t, firewall{
		pkg: "ufw", on: "ufw --force enable", forget: "ufw --force reset && ufw --force enable", show: "ufw show added",
		want: []string{
			"ufw allow from 10.42.0.0/16", "ufw route allow from 10.42.0.0/16", "ufw route allow to 10.42.0.0/16",
			"ufw allow from 10.43.0.0/16", "ufw route allow from 10.43.0.0/16", "ufw route allow to 10.43.0.0/16",
		},
	})
}

func TestRemedyFirewalld(t *testing.T) {
	throughFirewall(t, firewall{
		pkg: "firewalld", on: "systemctl enable --now firewalld",
		forget: "for n in " + podNetworks + "; do firewall-cmd -q --permanent --zone=trusted --remove-source=$n; firewall-cmd -q --zone=trusted --remove-source=$n; done",
		show:   "firewall-cmd --zone=trusted --list-sources | tr ' ' '\\n'; firewall-cmd --permanent --zone=trusted --list-sources | tr ' ' '\\n'",
		want:   strings.Fields(podNetworks + " " + podNetworks),
	})
}

// throughFirewall applies the remedy to the real firewall, undone and done again, and then installs the whole with the
// firewall on, up to the pod layer and a page of a project.
func throughFirewall(t *testing.T, f firewall) {
	w := newWorld(t)
	m := w.machine(t, lab.Options{Packages: []string{f.pkg}})
	w.withAgent(t, m)
	if err := w.PushSample(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	shell(t, m, f.on)
	liveRemedy(t, m, f.pkg+" "+podNetworks)
	if asksFor(t, m, f.pkg) { // install must do it by itself
		shell(t, m, f.forget)
	} else {
		t.Logf("the decision does not ask for the remedy %s: its rules are left from the step itself", f.pkg)
	}

	token(t, w.Gateway, m)
	install := w.install("behind", "-o", "json")
	result, err := m.Exec(t.Context(), nil, install...)
	if err != nil || result.Code != 0 {
		t.Fatalf("install: %v, exit code %d\n%s%s\n%s", err, result.Code, result.Stdout, result.Stderr,
			shell(t, m, f.show+"; journalctl --no-pager -n 40 -u k3s -u pipeops-agent"))
	}
	checkEvents(t, result.Stdout)
	rules := strings.Split(strings.TrimSpace(shell(t, m, f.show)), "\n")
	for _, want := range f.want {
		i := slices.Index(rules, want)
		if i < 0 {
			t.Errorf("there is no %q in %q", want, rules)
			continue
		}
		rules = slices.Delete(rules, i, i+1)
	}
	w.deploy(t, m, "behind")
	t.Run("second install", func(t *testing.T) { secondInstall(t, m, install) })
}

// asksFor reports whether an install of the machine would apply the remedy.
func asksFor(t *testing.T, m *lab.Machine, id string) bool {
	t.Helper()
	var p struct {
		Decision struct {
			Remedies []struct{ ID string }
		}
	}
	if err := json.Unmarshal([]byte(shell(t, m, "pipeops-agent plan -o json")), &p); err != nil {
		t.Fatal(err)
	}
	for _, r := range p.Decision.Remedies {
		if r.ID == id {
			return true
		}
	}
	return false
}

// liveRemedy runs the test of package distro that applies a remedy to the machine that it runs on.
func liveRemedy(t *testing.T, m *lab.Machine, remedy string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "distro.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", program, "./internal/distro")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	output(t, build)
	if err := m.Push(t.Context(), program, "/root/distro.test"); err != nil {
		t.Fatal(err)
	}
	t.Log(shell(t, m, "cd /root && PIPEOPS_LIVE_REMEDY='"+remedy+"' ./distro.test -test.v -test.run 'TestLiveRemedy$' && rm distro.test"))
}
