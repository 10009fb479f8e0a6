package distro

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
)

const (
	pods, services = "10.42.0.0/16", "10.43.0.0/16"
	oracleRules    = `# Oracle's image
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [463:49013]
:InstanceServices - [0:0]
-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT
-A INPUT -j REJECT --reject-with icmp-host-prohibited
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
-A OUTPUT -d 169.254.0.0/16 -j InstanceServices
COMMIT
`
)

// remedyCase is a remedy, what the machine is like before, and what its step leaves behind.
type remedyCase struct {
	remedy Remedy
	step   string
	files  map[string]string // before
	units  map[string]unit.State
	want   map[string]string // after
	calls  []string          // what changes the machine
}

func remedyCases() []remedyCase {
	accept := func(chain, match string) string {
		return "-A " + chain + " " + match + " 10.42.0.0/16 -m comment --comment pipeops-agent -j ACCEPT\n"
	}
	return []remedyCase{{
		remedy: Remedy{ID: RemedyUFW, Values: []string{pods}}, step: "ufw",
		files: map[string]string{"/programs/ufw": "ufw allow 22/tcp\nufw route allow to 10.42.0.0/16 comment 'mine'\n"},
		want:  map[string]string{"/programs/ufw": "ufw allow 22/tcp\nufw route allow to 10.42.0.0/16 comment 'mine'\nufw allow from 10.42.0.0/16\nufw route allow from 10.42.0.0/16\n"},
		calls: []string{"ufw allow from 10.42.0.0/16", "ufw route allow from 10.42.0.0/16"},
	}, {
		remedy: Remedy{ID: RemedyFirewalld, Values: []string{pods, services}}, step: "firewalld",
		files: map[string]string{"/programs/firewalld-permanent": "10.43.0.0/16\n", "/programs/firewalld-runtime": "192.0.2.0/24\n"},
		want:  map[string]string{"/programs/firewalld-permanent": "10.43.0.0/16\n10.42.0.0/16\n", "/programs/firewalld-runtime": "192.0.2.0/24\n10.42.0.0/16\n10.43.0.0/16\n"},
	}, {
		remedy: Remedy{ID: RemedyAcceptRules, Values: []string{pods}}, step: "accept-rules",
		files: map[string]string{
			"/etc/iptables/rules.v4":     oracleRules,
			"/programs/iptables-INPUT":   "-P INPUT ACCEPT\n-A INPUT -p tcp -j ACCEPT\n-A INPUT -j REJECT --reject-with icmp-host-prohibited\n",
			"/programs/iptables-FORWARD": "-P FORWARD ACCEPT\n-A FORWARD -j REJECT --reject-with icmp-host-prohibited\n",
		},
		want: map[string]string{
			"/etc/iptables/rules.v4": strings.NewReplacer("-A INPUT -j REJECT", accept("INPUT", "-s")+"-A INPUT -j REJECT",
				"-A FORWARD -j REJECT", accept("FORWARD", "-s")+accept("FORWARD", "-d")+"-A FORWARD -j REJECT").Replace(oracleRules),
			"/programs/iptables-INPUT": "-P INPUT ACCEPT\n-A INPUT -p tcp -j ACCEPT\n" + accept("INPUT", "-s") + "-A INPUT -j REJECT --reject-with icmp-host-prohibited\n",
		},
	}, {
		remedy: Remedy{ID: RemedyModules, Values: []string{"br_netfilter", "nft-compat", "overlay"}}, step: "modules",
		files: map[string]string{
			"/proc/sys/kernel/osrelease": "6.1.0\n", "/lib/modules/6.1.0/modules.builtin": "kernel/fs/overlayfs/overlay.ko\n",
			"/sys/module/br_netfilter/refcnt": "1\n",
		},
		want:  map[string]string{modulesFile: "# Written by pipeops-agent.\nbr_netfilter\nnft-compat\noverlay\n"},
		calls: []string{"modprobe nft-compat"},
	}, {
		remedy: Remedy{ID: RemedyPackage, Values: []string{"iptables", "conntrack"}}, step: "packages",
		files: map[string]string{"/usr/bin/apt-get": "", "/programs/dpkg": "conntrack\n", "/programs/lists": "\n"},
		want:  map[string]string{"/programs/dpkg": "conntrack\niptables\nlibdependency\n"},
	}, {
		remedy: Remedy{ID: RemedyKernelCmdline, Values: []string{"/boot/firmware/cmdline.txt", "cgroup_memory=1", "cgroup_enable=memory"}}, step: "kernel-cmdline",
		files: map[string]string{"/boot/firmware/cmdline.txt": "console=tty1 root=PARTUUID=1 cgroup_memory=1 \n", "/proc/cmdline": "console=tty1\n"},
		want:  map[string]string{"/boot/firmware/cmdline.txt": "console=tty1 root=PARTUUID=1 cgroup_memory=1 cgroup_enable=memory\n"},
	}, {
		remedy: Remedy{ID: RemedyServiceOff, Values: []string{"nm-cloud-setup.service", "nm-cloud-setup.timer", "gone.service"}}, step: "services-off",
		units: map[string]unit.State{"nm-cloud-setup.service": {File: "enabled", Active: "active"}, "nm-cloud-setup.timer": {File: "enabled", Active: "inactive"}},
	}, {
		remedy: Remedy{ID: RemedySharedRoot}, step: "shared-root",
		want: map[string]string{sharedRootFile: "# Written by pipeops-agent.\n[Service]\nExecStartPre=/bin/mount --make-rshared /\n"},
	}, {
		remedy: Remedy{ID: RemedyNetManager}, step: "networkmanager",
		want: map[string]string{"/etc/NetworkManager/conf.d/50-pipeops-agent.conf": "# Written by pipeops-agent.\n[keyfile]\n" +
			"unmanaged-devices=interface-name:cni*;interface-name:flannel*;interface-name:veth*;interface-name:cali*\n"},
		calls: []string{"nmcli general reload conf"},
	}, {
		remedy: Remedy{ID: RemedyOpenRCCgroups}, step: "openrc-cgroups",
		files: map[string]string{openrcConf: "#rc_cgroup_mode=\"hybrid\"\nrc_parallel=\"NO\"\n", "/etc/runlevels/boot/hostname": "", "/sys/fs/cgroup/x": ""},
		want:  map[string]string{openrcConf: "#rc_cgroup_mode=\"hybrid\"\nrc_parallel=\"NO\"\nrc_cgroup_mode=\"unified\"\n"},
		calls: []string{"rc-update add cgroups boot", "rc-service cgroups start"},
	}, {
		remedy: Remedy{ID: RemedySysctl, Values: []string{"net.ipv4.ip_forward=1", "vm.overcommit_memory=1"}}, step: "sysctl",
		files: map[string]string{"/proc/sys/net/ipv4/ip_forward": "0\n", "/proc/sys/vm/overcommit_memory": "2\n", sysctlFile: "# Written by pipeops-agent.\nkernel.pid_max = 99\n"},
		want: map[string]string{"/proc/sys/net/ipv4/ip_forward": "1\n", "/proc/sys/vm/overcommit_memory": "2\n",
			sysctlFile: "# Written by pipeops-agent.\nfs.inotify.max_user_watches = 524288\nkernel.pid_max = 99\nnet.ipv4.ip_forward = 1\nnet.ipv4.tcp_wmem = 4096 16384 16777216\n"},
	}}
}

// machine makes the machine of the case.
func (c remedyCase) machine(t *testing.T) (*bench, *programs) {
	b := newBench(t)
	p := &programs{b: b}
	b.in.Run, b.in.Remedies = p.run, []Remedy{c.remedy}
	for target, content := range c.files {
		b.write(target, content)
	}
	for name, s := range c.units {
		b.units.states[name] = s
	}
	return b, p
}

// step runs only the step of the case. It fails after all was done where that is wanted, and dies where the programs do.
func (c remedyCase) run(t *testing.T, b *bench, p *programs, fails bool) (res plan.Result, err error, died bool) {
	t.Helper()
	steps, err := k3sSteps(b.in)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(steps, func(s plan.Step) bool { return s.ID == c.step })
	if i < 0 {
		t.Fatalf("there is no step %s", c.step)
	}
	step := steps[i]
	if len(step.Changes) == 0 || step.Title == "" {
		t.Errorf("step %s does not say what it changes", c.step)
	}
	if fails {
		step.Done = nil
		step.Prove = func(context.Context) error { return fmt.Errorf("no") }
	}
	s, err := plan.Open(b.in.Dir, b.in.Root)
	if err != nil {
		t.Fatal(err)
	}
	s.Undo = b.in.Undo()
	defer s.Close()
	s.Run = p.run
	defer func() {
		if recover() != nil {
			died = true
		}
	}()
	res, err = (&plan.Runner{Store: s}).Run(t.Context(), plan.Plan{Name: "install", Steps: []plan.Step{step}})
	return res, err, false
}

func state(b *bench) string {
	out := b.tree()
	for _, name := range []string{"nm-cloud-setup.service", "nm-cloud-setup.timer", "gone.service"} {
		s := b.units.states[name]
		out += fmt.Sprintf("%s %v %v\n", name, s.Enabled(), s.Active == "active")
	}
	return out
}

func TestRemedySteps(t *testing.T) {
	for _, c := range remedyCases() {
		t.Run(c.remedy.ID, func(t *testing.T) {
			b, p := c.machine(t)
			before := state(b)
			if _, err, _ := c.run(t, b, p, false); err != nil {
				t.Fatal(err)
			}
			for target, want := range c.want {
				if diff := cmp.Diff(want, b.read(target)); diff != "" {
					t.Errorf("%s: %s", target, diff)
				}
			}
			if c.calls != nil && !slices.Equal(p.calls, c.calls) {
				t.Errorf("calls %q, want %q", p.calls, c.calls)
			}
			after := state(b)
			if after == before {
				t.Error("nothing was changed")
			}
			p.calls = nil
			if res, err, _ := c.run(t, b, p, false); err != nil || len(res.Changed) > 0 || len(p.calls) > 0 || state(b) != after {
				t.Errorf("a second run changes %v by %q, %v", res.Changed, p.calls, err)
			}

			b, p = c.machine(t)
			if _, err, _ := c.run(t, b, p, true); !reason.Is(err, reason.StepFailed) || reason.Exit(err) != reason.ExitRolledBack {
				t.Errorf("err = %v", err)
			}
			c.undone(t, before, b)

			for n := 1; ; n++ { // a crash before and after every program
				b, p = c.machine(t)
				p.die = n
				if _, _, died := c.run(t, b, p, false); !died {
					break
				}
				if n%2 == 0 {
					if _, err, _ := c.run(t, b, p, false); err != nil {
						t.Errorf("after crash %d: %v", n, err)
					}
					if got := state(b); got != after {
						t.Errorf("after crash %d: %s", n, cmp.Diff(after, got))
					}
					continue
				}
				if _, err, _ := c.run(t, b, p, true); !reason.Is(err, reason.StepFailed) {
					t.Errorf("after crash %d: %v", n, err)
				}
				c.undone(t, before, b)
			}
		})
	}
}

// undone wants the machine to be as it was. The lists of packages may be newer.
func (c remedyCase) undone(t *testing.T, before string, b *bench) {
	t.Helper()
	if c.remedy.ID == RemedyPackage {
		b.write("/programs/lists", "\n")
	}
	if got := state(b); got != before {
		t.Errorf("undone is not as before: %s", cmp.Diff(before, got))
	}
}

// TestEveryRemedyHasAnApplication reads the ids out of the source: one that is added there must be added here.
func TestEveryRemedyHasAnApplication(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "remedy.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if ok && strings.HasPrefix(spec.Names[0].Name, "Remedy") {
			ids = append(ids, strings.Trim(spec.Values[0].(*ast.BasicLit).Value, `"`))
		}
		return true
	})
	var applied []string
	for _, a := range applications() {
		if a.set == nil && a.step == nil {
			t.Errorf("%s: nothing is done", a.id)
		}
		applied = append(applied, a.id)
	}
	slices.Sort(ids)
	slices.Sort(applied)
	if len(ids) < 22 || !slices.Equal(ids, applied) {
		t.Error(cmp.Diff(ids, applied))
	}
}

func TestRemediesOfTheConfiguration(t *testing.T) {
	for _, c := range []struct {
		remedy Remedy
		want   string
	}{
		{Remedy{ID: RemedyFlannelBackend, Values: []string{"host-gw"}}, "flannel-backend: host-gw\n"},
		{Remedy{ID: RemedyCIDR, Values: []string{"10.52.0.0/16", "10.53.0.0/16"}}, "cluster-cidr: 10.52.0.0/16\ncluster-dns: 10.53.0.10\n"},
		{Remedy{ID: RemedyCIDR, Values: []string{"10.52.0.0/16", "10.53.0.0/16"}}, "service-cidr: 10.53.0.0/16\n"},
		{Remedy{ID: RemedyKubeletArg, Values: []string{"feature-gates=KubeletInUserNamespace=true"}}, "kubelet-arg:\n- feature-gates=KubeletInUserNamespace=true\n"},
		{Remedy{ID: RemedyKubeProxyArg, Values: []string{"conntrack-max-per-core=0"}}, "kube-proxy-arg:\n- conntrack-max-per-core=0\n"},
		{Remedy{ID: RemedySnapshotter, Values: []string{"native"}}, "snapshotter: native\n"},
		{Remedy{ID: RemedyResolvConf, Values: []string{"192.0.2.53", "2001:db8::53"}}, "resolv-conf: /etc/rancher/k3s/resolv.pipeops.conf\n"},
		{Remedy{ID: RemedyNodeName, Values: []string{"my-host"}}, "node-name: my-host\n"},
		{Remedy{ID: RemedyDataDir, Values: []string{"/data/k3s"}}, "data-dir: /data/k3s\n"},
		{Remedy{ID: RemedyBundledTools}, "prefer-bundled-bin: true\n"},
		{Remedy{ID: RemedyDisable, Values: []string{"metrics-server", "traefik"}}, "disable:\n- traefik\n- metrics-server\n"},
	} {
		b := newBench(t)
		b.in.Remedies = []Remedy{c.remedy}
		if _, err := b.run(nil); err != nil {
			t.Fatal(err)
		}
		if got := b.read(k3sConfig); !strings.Contains(got, "\n"+c.want) {
			t.Errorf("%s: %s", c.remedy.ID, got)
		}
		if c.remedy.ID == RemedyResolvConf {
			if got := b.read(k3sResolvConf); got != "# Written by pipeops-agent.\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n" {
				t.Error(got)
			}
		}
		b.must()
		b.in.Remedies = nil // what the configuration holds is what the unit runs on
		if res, err := b.run(nil); err != nil || !slices.Contains(res.Changed, "k3s-unit") {
			t.Errorf("%s: without it %v, %v", c.remedy.ID, res.Changed, err)
		}
	}
}

func TestBinaryDir(t *testing.T) {
	b := newBench(t)
	b.in.Remedies = []Remedy{{ID: RemedyBinaryDir, Values: []string{"/opt/bin"}}}
	if _, err := b.run(nil); err != nil {
		t.Fatal(err)
	}
	if got := b.read("/opt/bin/k3s"); got != "the k3s binary" {
		t.Error(got)
	}
	if got := b.read(k3sUnit); !strings.Contains(got, "ExecStart=/opt/bin/k3s server\n") || strings.Contains(got, "/usr/local/bin") {
		t.Error(got)
	}
	if to, err := os.Readlink(b.in.path("/opt/bin/kubectl")); err != nil || to != "k3s" {
		t.Errorf("kubectl -> %s, %v", to, err)
	}
	if _, err := os.Stat(b.in.path("/usr/local")); err == nil {
		t.Error("/usr/local was made")
	}
	b.must()
}

func TestRebootIsWaitedFor(t *testing.T) {
	b := newBench(t)
	b.in.Run = (&programs{b: b}).run
	b.in.Remedies = []Remedy{{ID: RemedyKernelCmdline, Values: []string{"/boot/cmdline.txt", "cgroup_enable=memory"}}}
	b.write("/boot/cmdline.txt", "quiet")
	b.write("/proc/cmdline", "quiet\n")
	for range 2 {
		_, err := b.run(nil)
		if !reason.Is(err, reason.RebootNeeded) || reason.Exit(err) != reason.ExitReboot {
			t.Fatalf("err = %v", err)
		}
		if got := b.read("/boot/cmdline.txt"); got != "quiet cgroup_enable=memory" {
			t.Errorf("%q", got)
		}
		if _, err := os.Stat(b.in.path(k3sBinary)); err == nil {
			t.Error("it went on")
		}
	}
	b.write("/proc/cmdline", "quiet cgroup_enable=memory\n")
	if res, err := b.run(nil); err != nil || !slices.Contains(res.Changed, "k3s-unit") || slices.Contains(res.Changed, "kernel-cmdline") {
		t.Errorf("changed %v, %v", res.Changed, err)
	}
	b.must()
}

func TestPackagesOfASnapshotWaitForTheReboot(t *testing.T) {
	b := newBench(t)
	p := &programs{b: b}
	b.in.Run = p.run
	b.in.Remedies = []Remedy{{ID: RemedyPackage, Values: []string{"iptables"}}}
	b.write("/usr/sbin/transactional-update", "")
	b.write("/proc/sys/kernel/random/boot_id", "one\n")
	for range 2 {
		if _, err := b.run(nil); !reason.Is(err, reason.RebootNeeded) {
			t.Fatalf("err = %v", err)
		}
	}
	if want := []string{"transactional-update --non-interactive --continue pkg install iptables"}; !slices.Equal(p.calls, want) {
		t.Errorf("calls: %q", p.calls)
	}
	b.write("/proc/sys/kernel/random/boot_id", "two\n")
	b.write("/programs/rpm", "iptables\n")
	if _, err := b.run(nil); err != nil {
		t.Error(err)
	}
}

func TestFirewallsThatAreOffAreLeftAlone(t *testing.T) {
	for _, id := range []string{RemedyUFW, RemedyFirewalld} {
		b := newBench(t)
		p := &programs{b: b, off: true}
		b.in.Run, b.in.Remedies = p.run, []Remedy{{ID: id, Values: []string{pods}}}
		if res, err := b.run(nil); err != nil || slices.Contains(res.Changed, id) || len(p.calls) > 0 {
			t.Errorf("%s: %v, %q, %v", id, res.Changed, p.calls, err)
		}
	}
}

// TestFirewalldThatHasEndedKeepsItsNetworks: what cannot be undone for that is told, and not taken for undone.
func TestFirewalldThatHasEndedKeepsItsNetworks(t *testing.T) {
	b := newBench(t)
	p := &programs{b: b}
	b.in.Run, b.in.Remedies = p.run, []Remedy{{ID: RemedyFirewalld, Values: []string{pods}}}
	steps, err := k3sSteps(b.in)
	if err != nil {
		t.Fatal(err)
	}
	step := steps[slices.IndexFunc(steps, func(s plan.Step) bool { return s.ID == "firewalld" })]
	step.Prove = func(context.Context) error { p.off = true; return fmt.Errorf("no") }
	s, err := plan.Open(b.in.Dir, b.in.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Run = p.run
	if _, err := (&plan.Runner{Store: s}).Run(t.Context(), plan.Plan{Name: "install", Steps: []plan.Step{step}}); err == nil {
		t.Error("no error")
	}
	var left []string
	for _, c := range s.Ledger.Left() {
		left = append(left, c.Target)
	}
	if want := []string{"zone trusted, permanently: " + pods}; !slices.Equal(left, want) {
		t.Errorf("left %q", left)
	}
}

func TestOrderOfRemedies(t *testing.T) {
	b := newBench(t) // its own remedy is the last
	for _, a := range applications() {
		for _, c := range remedyCases() {
			if c.remedy.ID == a.id {
				b.in.Remedies = append([]Remedy{c.remedy}, b.in.Remedies...)
			}
		}
	}
	steps, err := k3sSteps(b.in)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, s := range steps {
		ids = append(ids, s.ID)
	}
	want := []string{"packages", "openrc-cgroups", "kernel-cmdline", "reboot", "modules", "k3s-download", "k3s-binary", "k3s-images", "sysctl",
		"services-off", "shared-root", "networkmanager", "ufw", "firewalld", "accept-rules", "k3s-config", "k3s-containerd", "k3s-unit"}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Error(diff)
	}
}

func TestRemediesThatMakeNoSenseAreErrors(t *testing.T) {
	for _, r := range []Remedy{
		{ID: "no-such-remedy"},
		{ID: RemedyFlannelBackend, Values: []string{"carrier-pigeon"}},
		{ID: RemedyCIDR, Values: []string{"10.42.0.0/16", "10.42.8.0/24"}},
		{ID: RemedyCIDR, Values: []string{"10.42.0.0/16", "10.43.0.0/30"}},
		{ID: RemedyCIDR, Values: []string{"10.42.0.1/16", "10.43.0.0/16"}},
		{ID: RemedyKubeletArg, Values: []string{"--bad"}},
		{ID: RemedyResolvConf, Values: []string{"127.0.0.53"}},
		{ID: RemedyResolvConf},
		{ID: RemedyNodeName, Values: []string{"My_Host"}},
		{ID: RemedyBinaryDir, Values: []string{"/opt/../bin"}},
		{ID: RemedyDataDir, Values: []string{"/data/../k3s"}},
		{ID: RemedyDataDir, Values: []string{"/"}},
		{ID: RemedyDataDir, Values: []string{"/data/a\"b"}},
		{ID: RemedyDataDir, Values: []string{"/data/k3s", "/srv/k3s"}},
		{ID: RemedyDisable, Values: []string{"a b"}},
		{ID: RemedySysctl, Values: []string{"kernel.core_pattern=|/bin/sh"}},
		{ID: RemedySysctl, Values: []string{"../../etc/passwd=1"}},
		{ID: RemedyModules, Values: []string{"-r"}},
		{ID: RemedyUFW, Values: []string{"0.0.0.0/0"}},
		{ID: RemedyFirewalld, Values: []string{"anywhere"}},
		{ID: RemedyAcceptRules},
		{ID: RemedyServiceOff, Values: []string{"--now"}},
		{ID: RemedyPackage, Values: []string{"--force"}},
		{ID: RemedyKernelCmdline, Values: []string{"/boot/cmdline.txt"}},
		{ID: RemedyKernelCmdline, Values: []string{"/boot/cmdline.txt", "a b"}},
	} {
		if _, err := k3sSteps(Install{Dir: t.TempDir(), Arch: "amd64", Remedies: []Remedy{r}}); err == nil {
			t.Errorf("%s %q was taken", r.ID, r.Values)
		}
	}
}

func TestWhatCannotBeChangedIsAnError(t *testing.T) {
	for _, c := range []struct {
		remedy Remedy
		files  map[string]string
	}{
		{Remedy{ID: RemedyKernelCmdline, Values: []string{"/boot/cmdline.txt", "x=1"}}, map[string]string{"/boot/cmdline.txt": "a\nb\n"}},
		{Remedy{ID: RemedyKernelCmdline, Values: []string{"/boot/cmdline.txt", "x=1"}}, map[string]string{"/boot/cmdline.txt": "\n"}},
		{Remedy{ID: RemedySysctl, Values: []string{"net.ipv4.no_such=1"}}, nil},
		{Remedy{ID: RemedyPackage, Values: []string{"iptables"}}, nil}, // no package manager
	} {
		b := newBench(t)
		b.in.Run, b.in.Remedies = (&programs{b: b}).run, []Remedy{c.remedy}
		for target, content := range c.files {
			b.write(target, content)
		}
		if _, err := b.run(nil); err == nil {
			t.Errorf("%s was done", c.remedy.ID)
		}
		for target, content := range c.files {
			if b.read(target) != content {
				t.Errorf("%s was changed", target)
			}
		}
		if _, err := os.Stat(filepath.Join(b.in.Root, k3sConfig)); err == nil {
			t.Errorf("%s: it went on", c.remedy.ID)
		}
	}
}
