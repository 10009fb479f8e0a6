//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// oracleScript prints all that an install may change of a machine: every file with mode, owner and content, names below
// /run, values of the kernel, rules, units, packages, links, routes, mounts, control groups, ports. Each line begins with
// what it is about.
const oracleScript = `
cd /
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/log/journal -o -path /root/pipeops.token \) -prune -o -type f -printf 'tree %p %m %U:%G ' -exec sha256sum -b {} \; | sed 's/ \*.*//'
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/log/journal \) -prune -o ! -type f -printf 'tree %p %y %m %U:%G %l\n'
find /run -printf 'run %p %y\n' 2>/dev/null | grep -v -E '^run /run/(systemd|log|user|udev|dbus|host|lock|credentials|openrc/(exclusive|daemons|options))'
sysctl -a 2>/dev/null | sed 's/^/sysctl /'
nft -s list ruleset 2>/dev/null | sed 's/^/nft /'
for c in iptables-legacy-save ip6tables-legacy-save; do $c 2>/dev/null | grep -v '^#' | sed 's/\[.*//; s/^/legacy /'; done
if [ -d /run/systemd/system ]; then
  systemctl list-unit-files --no-legend --no-pager | awk '{print "unit", $1, $2}'
  systemctl list-units --all --no-legend --no-pager --plain | awk '$1 ~ /[.](service|slice|scope|mount)$/ {print "loaded", $1, $2, $3}'
else
  rc-update show -a 2>/dev/null | sed 's/^/unit /'
fi
dpkg-query -W -f 'package ${Package} ${Version} ${Status}\n'
ip -o link | sed 's/^[0-9]*: /link /; s/qdisc.*//'
ip route show table all | sed 's/^/route /'
ip -6 route show table all | sed 's/^/route6 /; s/ expires [0-9]*sec//'
ip rule | sed 's/^/rule /'
cut -d' ' -f4,5 /proc/self/mountinfo | sed 's/^/mount /'
find /sys/fs/cgroup -type d -name 'kubepods*' | sed 's/^/cgroup /'
for f in tcp tcp6 udp udp6; do awk -v f=$f '$4 == "0A" || f ~ /udp/ && $4 == "07" {print "port", f, $2}' /proc/net/$f; done
`

// mayDiffer is what the oracle does not look at, and why. There are five.
func mayDiffer() []string {
	return []string{
		`^sysctl (fs|kernel|vm|dev)\.`,               // of the one kernel that all machines of the lab share; the tests of internal/remains look at these
		`^sysctl net\.netfilter\.nf_conntrack_count`, // how many connections there are now
		`^tree /var/(log/(wtmp|btmp|lastlog|apt|dpkg|alternatives)|cache|lib/systemd|tmp/systemd-)|^run /run/utmp|^mount (/\.#proc|\S+ /run/credentials/)`, // logs, timers, masks and credentials of units of the system itself
		`^loaded (systemd-|user|session|network-online|init\.scope|run-|modprobe@|e2scrub|apt-|dpkg-|man-db|logrotate|fstrim)`,                             // what systemd starts when it likes
		`^route6? .*(fe80|multicast|ff00)`, // link-local addresses come when the kernel has checked them
	}
}

// oracle is the machine, line by line.
func oracle(t *testing.T, m *lab.Machine) []string {
	t.Helper()
	ignored := regexp.MustCompile(strings.Join(mayDiffer(), "|"))
	var all []string
	for line := range strings.Lines(shell(t, m, oracleScript)) {
		if line = strings.TrimSpace(line); !ignored.MatchString(line) {
			all = append(all, line)
		}
	}
	slices.Sort(all)
	return all
}

// asBefore wants the machine to be what it was.
func asBefore(t *testing.T, m *lab.Machine, before []string) {
	t.Helper()
	asBeforeWith(t, m, before, oracle)
}

// asBeforeWith does so by another oracle, which gives sorted lines.
func asBeforeWith(t *testing.T, m *lab.Machine, before []string, oracle func(*testing.T, *lab.Machine) []string) {
	t.Helper()
	after := oracle(t, m)
	var lost, came []string
	for _, line := range before {
		if _, found := slices.BinarySearch(after, line); !found {
			lost = append(lost, line)
		}
	}
	for _, line := range after {
		if _, found := slices.BinarySearch(before, line); !found {
			came = append(came, line)
		}
	}
	t.Logf("compared %d lines", len(before))
	if len(lost)+len(came) > 0 {
		t.Errorf("the machine is not as before\nwent:\n%s\ncame:\n%s", strings.Join(head(lost, 60), "\n"), strings.Join(head(came, 60), "\n"))
	}
}

func head(lines []string, most int) []string {
	if len(lines) > most {
		return append(slices.Clone(lines[:most]), fmt.Sprintf("and %d more", len(lines)-most))
	}
	return lines
}

// uninstall runs it and wants the exit code; it returns the messages.
func uninstall(t *testing.T, m *lab.Machine, code int, args ...string) string {
	t.Helper()
	result, err := m.Exec(t.Context(), nil, append([]string{"/usr/local/bin/pipeops-agent", "uninstall", "--yes", "-o", "json"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for line := range strings.Lines(result.Stdout) {
		var e wire.Event
		if err := json.Unmarshal([]byte(line), &e); err == nil && e.Kind != "step" {
			said = append(said, e.Kind+": "+e.Message)
		} else if e.State == "failed" {
			said = append(said, "FAILED: "+e.Title+": "+e.Message)
		}
	}
	text := strings.Join(said, "\n")
	t.Logf("uninstall %v:\n%s%s", args, text, result.Stderr)
	if result.Code != code {
		t.Fatalf("exit code %d, want %d\n%s", result.Code, code, result.Stdout)
	}
	return text
}

func installed(t *testing.T, w *world, m *lab.Machine, cluster string) {
	t.Helper()
	token(t, w.Gateway, m)
	result, err := m.Exec(t.Context(), nil, w.install(cluster)...)
	if err != nil || result.Code != 0 {
		t.Fatalf("install: %v, exit code %d\n%s\n%s", err, result.Code, result.Told(),
			shell(t, m, "journalctl --no-pager -n 60 -u k3s -u pipeops-agent || tail -60 /var/log/k3s.log"))
	}
}

// clutterBefore is what a machine has that was not made for us.
const clutterBefore = `
set -e
printf 'net.ipv4.tcp_keepalive_time = 1234\n' > /etc/sysctl.d/99-mine.conf
sysctl -q -w net.ipv4.tcp_keepalive_time=1234
nft add table inet mine
nft add chain inet mine input '{ type filter hook input priority 10; }'
nft add rule inet mine input tcp dport 12345 drop
iptables -A INPUT -p tcp --dport 12346 -m comment --comment "my own rule" -j DROP
mkdir -p /etc/rancher/k3s && printf 'mirrors: {}\n' > /etc/rancher/k3s/registries.yaml
mkdir -p /etc/containerd /srv/rootfs/bin && cp /usr/bin/busybox /srv/rootfs/bin/ && cp /usr/bin/busybox /srv/rootfs/bin/sleep
ldd /usr/bin/busybox | grep -o '/[^ ]*' | while read lib; do mkdir -p /srv/rootfs/$(dirname $lib); cp -L $lib /srv/rootfs/$lib; done || true
ctr run -d --rootfs /srv/rootfs theirs /bin/busybox sleep 100000
`

// clutterAfter is what its owner adds while the cluster runs.
const clutterAfter = `
set -e
mkdir -p /var/lib/rancher/k3s/storage/tmp /var/lib/rancher/k3s/storage/disk /var/lib/rancher/k3s/storage/bound /var/lib/kubelet/mine /srv/bound
mount -t tmpfs none /var/lib/rancher/k3s/storage/tmp && echo precious > /var/lib/rancher/k3s/storage/tmp/file
echo precious > /srv/bound/file && mount --bind /srv/bound /var/lib/rancher/k3s/storage/bound
mount -t tmpfs none /var/lib/kubelet/mine && echo precious > /var/lib/kubelet/mine/file
truncate -s 16M /srv/disk.img && mkfs.ext4 -q /srv/disk.img && { mount -o loop /srv/disk.img /var/lib/rancher/k3s/storage/disk || mount -t tmpfs none /var/lib/rancher/k3s/storage/disk; } && echo precious > /var/lib/rancher/k3s/storage/disk/file
mkdir -p '/var/lib/rancher/k3s/storage/pvc-1_default_data' && echo data > '/var/lib/rancher/k3s/storage/pvc-1_default_data/file'
echo '# my own words' >> /etc/rancher/k3s/config.yaml
`

// TestUninstallLeavesNothing is the oracle: a machine with clutter, an install with a project, more clutter, an uninstall.
func TestUninstallLeavesNothing(t *testing.T) {
	w := newWorld(t)
	m := w.machine(t, lab.Options{Packages: []string{"containerd", "runc", "e2fsprogs"}})
	shell(t, m, clutterBefore)
	if err := w.PushSample(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	theirs := shell(t, m, "ctr task ls | grep theirs")
	before := oracle(t, m)
	w.withAgent(t, m)
	installed(t, w, m, "shop")
	w.deploy(t, m, "shop")
	shell(t, m, clutterAfter)

	result, err := m.Exec(t.Context(), nil, "pipeops-agent", "uninstall")
	if err != nil {
		t.Fatal(err)
	}
	if result.Code != 13 || !strings.Contains(result.Stderr, "--yes") {
		t.Errorf("unasked: exit code %d\n%s", result.Code, result.Stderr)
	}
	state := shell(t, m, "find /var/lib/pipeops-agent -type f | sort | xargs sha256sum")
	would := shell(t, m, "pipeops-agent uninstall --dry-run")
	for _, want := range []string{"undo: Start k3s", "tree /var/lib/rancher/k3s", "k3s-processes", "remove: /var/lib/pipeops-agent", "remove: /usr/local/bin/pipeops-agent"} {
		if !strings.Contains(would, want) {
			t.Errorf("a dry run does not say %q:\n%s", want, would)
		}
	}
	if now := shell(t, m, "find /var/lib/pipeops-agent -type f | sort | xargs sha256sum"); now != state {
		t.Errorf("a dry run has changed the state:\n%s", difference(state, now))
	}

	began := time.Now()
	said := uninstall(t, m, 0)
	t.Logf("uninstalled in %s", time.Since(began).Round(time.Millisecond))
	for _, want := range []string{
		"/var/lib/rancher/k3s/storage/tmp: a file system is mounted there", "/var/lib/rancher/k3s/storage/disk: a file system is mounted there",
		"/var/lib/rancher/k3s/storage/bound: a file system is mounted there", "/var/lib/kubelet/mine: a file system is mounted there",
		"/etc/rancher/k3s/config.yaml: somebody else has changed it", "has forgotten cluster shop", "proof: Clean",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%q was not said", want)
		}
	}
	if clusters := command(t, w.Gateway, "clusters"); strings.Contains(clusters, "shop") {
		t.Errorf("the gateway still has the cluster:\n%s", clusters)
	}
	for _, dir := range []string{"/var/lib/rancher/k3s/storage/tmp", "/var/lib/rancher/k3s/storage/disk", "/var/lib/rancher/k3s/storage/bound", "/var/lib/kubelet/mine"} {
		if got := shell(t, m, "cat "+dir+"/file"); strings.TrimSpace(got) != "precious" {
			t.Errorf("%s holds %q", dir, got)
		}
	}
	if now := shell(t, m, "ctr task ls | grep theirs"); now != theirs {
		t.Errorf("the other runtime's container was %q, is %q", theirs, now)
	}
	// what its owner has added, and only that
	shell(t, m, `umount /var/lib/rancher/k3s/storage/* /var/lib/kubelet/mine
rmdir /var/lib/rancher/k3s/storage/tmp /var/lib/rancher/k3s/storage/disk /var/lib/rancher/k3s/storage/bound /var/lib/rancher/k3s/storage /var/lib/kubelet/mine /var/lib/kubelet
rm -r /srv/bound /srv/disk.img && grep -q 'my own words' /etc/rancher/k3s/config.yaml && rm /etc/rancher/k3s/config.yaml`)
	asBefore(t, m, before)
}

// TestUninstallKilled kills an uninstall twice in the middle; the third run ends clean. Before that the volumes of an earlier
// install were kept over an uninstall and the next install.
func TestUninstallKilled(t *testing.T) {
	w := newWorld(t)
	m := w.machine(t, lab.Options{})
	if err := w.PushSample(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	before := oracle(t, m)
	w.withAgent(t, m)
	installed(t, w, m, "tough")
	const volume = "/var/lib/rancher/k3s/storage/pvc-1_default_data"
	shell(t, m, "mkdir -p "+volume+" && echo data > "+volume+"/file")
	if said := uninstall(t, m, 0, "--keep-data", "--keep-agent"); !strings.Contains(said, "/var/lib/rancher/k3s/storage: kept") {
		t.Error("it was not said what is kept")
	}
	if got := shell(t, m, "cat "+volume+"/file; ls -A /var/lib/rancher/k3s | tr '\\n' ' '"); got != "data\nagent storage " && got != "data\nagent storage" {
		t.Errorf("kept was %q", got) // agent holds the sample image, which was there before
	}
	installed(t, w, m, "tough")
	w.deploy(t, m, "tough")
	shell(t, m, "grep -q data "+volume+"/file")
	for _, step := range []string{"agent-unit", "k3s-unit"} {
		killIn(t, m, step, []string{"pipeops-agent", "uninstall", "--yes", "-o", "json"})
	}
	result, err := m.Exec(t.Context(), nil, "pipeops-agent", "uninstall") // is not asked again
	if err != nil || result.Code != 0 {
		t.Fatalf("%v, exit code %d\n%s", err, result.Code, result.Told())
	}
	t.Log(result.Stdout)
	shell(t, m, "grep -q data "+volume+"/file && rm -r /var/lib/rancher/k3s/storage /run/install.pid") // it was there before the last install
	asBefore(t, m, before)
}

// TestUninstallAfterPowerCut cuts the power while k3s starts for the first time, and uninstalls what there is.
func TestUninstallAfterPowerCut(t *testing.T) {
	w := newWorld(t)
	m := w.machine(t, lab.Options{})
	before := oracle(t, m)
	w.withAgent(t, m)
	token(t, w.Gateway, m)
	ended := make(chan error, 1)
	go func() {
		_, err := m.Exec(t.Context(), nil, w.install("cut")...)
		ended <- err
	}()
	eventually(t, 2*time.Minute, "containers", func(ctx context.Context) error {
		_, err := m.Shell(ctx, "ls -d /run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/*")
		return err
	})
	if err := m.Cut(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-ended
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	uninstall(t, m, 0)
	asBefore(t, m, before)
	if said := shell(t, m, "test ! -e /usr/local/bin/pipeops-agent; test ! -e /var/lib/pipeops-agent && echo gone"); strings.TrimSpace(said) != "gone" {
		t.Errorf("got %q", said)
	}
}

// TestUninstallUnderOpenRC does so where OpenRC starts the services.
func TestUninstallUnderOpenRC(t *testing.T) {
	w := newWorld(t)
	m := w.machine(t, lab.Options{OpenRC: true})
	if err := w.PushSample(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	before := oracle(t, m)
	w.withAgent(t, m)
	installed(t, w, m, "openrc")
	w.deploy(t, m, "openrc")
	uninstall(t, m, 0)
	asBefore(t, m, before)
}

// TestUninstallOfAnAdoptedCluster wants the cluster to stay as it is, without our rights in it.
func TestUninstallOfAnAdoptedCluster(t *testing.T) {
	w := newWorld(t)
	m := w.machine(t, lab.Options{})
	w.foreignK3s(t, m)
	before := shell(t, m, "find /etc /usr/local/bin /var/lib/rancher/k3s/server/tls -type f ! -name dynamic-cert.json | sort | xargs sha256sum; systemctl show -p MainPID k3s")
	w.withAgent(t, m)
	installed(t, w, m, "theirs")
	shell(t, m, "k3s kubectl get clusterrolebinding pipeops-admins")
	if err := w.Gateway.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	said := uninstall(t, m, 0)
	if !strings.Contains(said, "pipeops-gateway clusters remove theirs") {
		t.Error("it was not said how the gateway forgets the cluster")
	}
	if err := w.Gateway.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	command(t, w.Gateway, "clusters", "remove", "theirs")
	if after := shell(t, m, "find /etc /usr/local/bin /var/lib/rancher/k3s/server/tls -type f ! -name dynamic-cert.json | sort | xargs sha256sum; systemctl show -p MainPID k3s"); after != before {
		t.Errorf("the foreign k3s was touched:\n%s", difference(before, after))
	}
	shell(t, m, "! k3s kubectl get clusterrolebinding pipeops-admins && k3s kubectl get nodes && rm "+rig.TokenFile)
}
