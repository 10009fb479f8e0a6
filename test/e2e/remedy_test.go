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
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// The networks of pods and of services that k3s has if nothing else is said, and those where a VPN has taken 10.0.0.0/8.
const (
	podNetworks     = "10.42.0.0/16 10.43.0.0/16"
	besideVPN       = "172.28.0.0/16 172.29.0.0/16"
	vpn             = "ip link add vpn0 type veth peer name vpn1 && ip address add 10.200.0.1/8 dev vpn0 && ip link set vpn1 up && ip link set vpn0 up"
	withoutVPN      = "ip link delete vpn0"
	serviceOfTheAPI = "k3s kubectl get service kubernetes -o jsonpath={.spec.clusterIP}"
)

// firewall is one that is on when a machine is installed.
type firewall struct {
	pkg    string // of Debian, and id of the remedy
	on     string // shell: switches it on
	forget string // shell: removes what the remedy has added
	show   string // shell: prints the rules
	want   []string

	networks string // of pods and services
	before   string // shell: what else the machine has
	later    string // shell: what has gone when it is installed again
	args     []string
	check    func(t *testing.T, m *lab.Machine)
}

// TestRemedyUFW also puts the data of k3s where it was asked for.
func TestRemedyUFW(t *testing.T) {
	throughFirewall(t, firewall{
		args:   []string{"--data-dir", "/srv/k3s"},
		before: "mkdir -p /srv/k3s && mv /var/lib/rancher/k3s/agent /srv/k3s/", // the image of the sample
		check: func(t *testing.T, m *lab.Machine) {
			shell(t, m, "test -d /srv/k3s/server/db -a -d /srv/k3s/agent/images -a ! -e /var/lib/rancher/k3s/server -a ! -e /var/lib/rancher/k3s/agent")
		},
		networks: podNetworks,
		pkg:      "ufw", on: "ufw --force enable", forget: "ufw --force reset && ufw --force enable", show: "ufw show added",
		want: []string{
			"ufw allow from 10.42.0.0/16", "ufw route allow from 10.42.0.0/16", "ufw route allow to 10.42.0.0/16",
			"ufw allow from 10.43.0.0/16", "ufw route allow from 10.43.0.0/16", "ufw route allow to 10.43.0.0/16",
		},
	})
}

// TestRemedyFirewalld has a VPN on the machine besides, so that the cluster gets other networks, and keeps them when the VPN
// has gone.
func TestRemedyFirewalld(t *testing.T) {
	throughFirewall(t, firewall{
		networks: besideVPN, before: vpn, later: withoutVPN,
		check: func(t *testing.T, m *lab.Machine) {
			if got := shell(t, m, serviceOfTheAPI); got != "172.29.0.1" {
				t.Errorf("the address of the API service is %q", got)
			}
		},
		pkg: "firewalld", on: "systemctl enable --now firewalld",
		forget: "for n in " + besideVPN + "; do firewall-cmd -q --permanent --zone=trusted --remove-source=$n; firewall-cmd -q --zone=trusted --remove-source=$n; done",
		show:   "firewall-cmd --zone=trusted --list-sources | tr ' ' '\\n'; firewall-cmd --permanent --zone=trusted --list-sources | tr ' ' '\\n'",
		want:   strings.Fields(besideVPN + " " + besideVPN),
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
	shell(t, m, f.on+"\n"+f.before)
	liveRemedy(t, m, f.pkg+" "+f.networks)
	if asksFor(t, m, f.pkg) { // install must do it by itself
		shell(t, m, f.forget)
	} else {
		t.Logf("the decision does not ask for the remedy %s: its rules are left from the step itself", f.pkg)
	}

	token(t, w.Gateway, m)
	install := w.install("behind", append([]string{"-o", "json"}, f.args...)...)
	result, err := m.Exec(t.Context(), nil, install...)
	if err != nil || result.Code != 0 {
		t.Fatalf("install: %v, exit code %d\n%s\n%s", err, result.Code, result.Told(),
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
	if f.check != nil {
		f.check(t, m)
	}
	shell(t, m, f.later)
	t.Run("second install", func(t *testing.T) { secondInstall(t, m, install) })
	if f.check != nil {
		f.check(t, m)
	}
}

// TestRemedySteps applies the remedies that need no k3s to a real machine: rules that reject, as images of some clouds have
// them, a unit that is in the way, a package that is not there.
func TestRemedySteps(t *testing.T) {
	l, err := lab.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := (&world{Rig: &rig.Rig{Lab: l}}).machine(t, lab.Options{})
	shell(t, m, `iptables -A INPUT -p tcp --dport 22 -j ACCEPT; iptables -A INPUT -j REJECT --reject-with icmp-host-prohibited
iptables -A FORWARD -j REJECT --reject-with icmp-host-prohibited; mkdir -p /etc/iptables; iptables-save > /etc/iptables/rules.v4; systemctl start cron`)
	before := shell(t, m, "cat /etc/iptables/rules.v4")
	liveRemedy(t, m, "accept-before-reject "+podNetworks)
	after := shell(t, m, "cat /etc/iptables/rules.v4")
	var kept []string
	ours := 0
	for line := range strings.Lines(after) {
		if strings.Contains(line, "--comment pipeops-agent ") {
			ours++
		} else {
			kept = append(kept, line)
		}
	}
	if ours != 6 || strings.Join(kept, "") != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	live := shell(t, m, "iptables -S INPUT; iptables -S FORWARD")
	shell(t, m, "iptables -F; iptables-restore --test /etc/iptables/rules.v4 && iptables-restore /etc/iptables/rules.v4")
	if loaded := shell(t, m, "iptables -S INPUT; iptables -S FORWARD"); loaded != live || strings.Count(live, "pipeops-agent") != 6 {
		t.Errorf("live:\n%s\nafter a boot:\n%s", live, loaded)
	}

	liveRemedy(t, m, "service-off cron.service")
	if state := shell(t, m, "systemctl is-active cron; systemctl is-enabled cron; true"); strings.TrimSpace(state) != "inactive\ndisabled" {
		t.Errorf("cron is %q", state)
	}
	liveRemedy(t, m, "shared-root")

	// two packages in a repository of the machine's own, whose list apt has not read yet
	shell(t, m, `mkdir -p /repo && cd /repo && echo 'deb [trusted=yes] file:/repo ./' > /etc/apt/sources.list && rm -rf /var/lib/apt/lists/*
for p in wanted needed; do
	mkdir -p $p/DEBIAN && printf 'Package: pipeops-%s\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: nothing\n' $p > $p/DEBIAN/control
done
echo 'Depends: pipeops-needed' >> wanted/DEBIAN/control
for p in wanted needed; do
	dpkg-deb --build $p >/dev/null
	{ cat $p/DEBIAN/control; echo "Filename: ./$p.deb"; echo "Size: $(stat -c %s $p.deb)"; echo "SHA256: $(sha256sum < $p.deb | cut -d' ' -f1)"; echo; } >> Packages
done`)
	liveRemedy(t, m, "package pipeops-wanted")
	if got := shell(t, m, "dpkg-query -W -f '${Package} ' 'pipeops-*'"); strings.TrimSpace(got) != "pipeops-needed pipeops-wanted" {
		t.Errorf("installed: %q", got)
	}
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
