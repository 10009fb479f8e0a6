package remains

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/mounttable"
)

// machine is one in a folder.
type machine struct {
	t *testing.T
	e Env
}

func newMachine(t *testing.T) machine {
	return machine{t, Env{Root: t.TempDir(), DataDir: "/var/lib/rancher/k3s"}}
}

func (m machine) write(path, content string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.e.path(path)), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(m.e.path(path), []byte(content), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m machine) mkdir(paths ...string) {
	m.t.Helper()
	for _, path := range paths {
		if err := os.MkdirAll(m.e.path(path), 0o755); err != nil {
			m.t.Fatal(err)
		}
	}
}

func (m machine) read(path string) string {
	m.t.Helper()
	raw, err := os.ReadFile(m.e.path(path))
	if err != nil {
		m.t.Fatal(err)
	}
	return strings.TrimSpace(string(raw))
}

func (m machine) list(thing Thing) []string {
	m.t.Helper()
	all, err := thing.List(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return all
}

// remove wants a second call to find nothing more to do.
func (m machine) remove(thing Thing, before []string) []string {
	m.t.Helper()
	var left []string
	for range 2 {
		var err error
		if left, err = thing.Remove(m.t.Context(), before); err != nil {
			m.t.Fatal(err)
		}
	}
	return left
}

func (m machine) there(paths ...string) (found []string) {
	for _, path := range paths {
		if _, err := os.Lstat(m.e.path(path)); err == nil {
			found = append(found, path)
		}
	}
	return found
}

func TestFilesAndFolders(t *testing.T) {
	m := newMachine(t)
	m.write("/var/lib/cni/results/podman-1-eth0", "theirs")
	m.write("/var/lib/cni/results/cni-loopback-1-lo", "theirs, of another runtime")
	files, folders := m.e.files(), m.e.folders()
	beforeFiles, beforeFolders := m.list(files), m.list(folders)
	if want := []string{"/var/lib/cni/results/cni-loopback-1-lo"}; !slices.Equal(beforeFiles, want) {
		t.Errorf("before: %v", beforeFiles)
	}
	m.write("/etc/rancher/k3s/k3s.yaml", "a kubeconfig")
	m.write("/etc/rancher/k3s/registries.yaml", "the user's")
	m.write("/var/lib/cni/results/cbr0-2-eth0", "ours")
	m.write("/var/lib/cni/results/cni-loopback-2-lo", "ours")
	m.mkdir("/var/lib/cni/results/cbr0-folder", "/usr/libexec/kubernetes/kubelet-plugins/volume/exec", "/var/lib/cni/networks")

	if left := m.remove(files, beforeFiles); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	left := m.remove(folders, beforeFolders)
	want := []string{"/etc/rancher/k3s: it holds what is not ours", "/etc/rancher: it holds what is not ours"}
	if !slices.Equal(left, want) {
		t.Error(cmp.Diff(want, left))
	}
	got := m.there("/etc/rancher/k3s/k3s.yaml", "/etc/rancher/k3s/registries.yaml", "/var/lib/cni/results/podman-1-eth0",
		"/var/lib/cni/results/cni-loopback-1-lo", "/var/lib/cni/results/cni-loopback-2-lo", "/var/lib/cni/results/cbr0-2-eth0",
		"/var/lib/cni/results/cbr0-folder", "/var/lib/cni/networks", "/usr/libexec/kubernetes", "/usr/libexec")
	want = []string{"/etc/rancher/k3s/registries.yaml", "/var/lib/cni/results/podman-1-eth0", "/var/lib/cni/results/cni-loopback-1-lo",
		"/var/lib/cni/results/cbr0-folder", "/usr/libexec"}
	if !slices.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

func TestOnlyDeadSocketsGo(t *testing.T) {
	m := newMachine(t)
	dir, err := os.MkdirTemp("", "s") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m.e.Root = dir
	m.mkdir("/run/containerd/s")
	listen := func(name string) *net.UnixListener {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: m.e.path("/run/containerd/s/" + name)})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		t.Cleanup(func() { l.Close() })
		return l
	}
	old := listen("old")
	old.Close()
	before := m.list(m.e.sockets())
	listen("ours").Close()
	listen("live")
	m.write("/run/containerd/s/file", "no socket")
	if left := m.remove(m.e.sockets(), before); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	got := m.there("/run/containerd/s/old", "/run/containerd/s/ours", "/run/containerd/s/live", "/run/containerd/s/file")
	if want := []string{"/run/containerd/s/old", "/run/containerd/s/live", "/run/containerd/s/file"}; !slices.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

func TestSysctls(t *testing.T) {
	m := newMachine(t)
	for name, value := range map[string]string{
		"net/ipv4/ip_forward": "0", "vm/overcommit_memory": "0", "kernel/panic": "0", "kernel/panic_on_oops": "0",
		"net/ipv4/conf/eth0/forwarding": "0", "net/netfilter/nf_conntrack_tcp_timeout_established": "432000",
	} {
		m.write("/proc/sys/"+name, value+"\n")
	}
	before := m.list(m.e.sysctls())
	if before[0] != "net/ipv4/ip_forward=0" {
		t.Errorf("forwarding, which changes others, is not the first of %v", before)
	}
	for name, value := range map[string]string{
		"net/ipv4/ip_forward": "1", "kernel/panic": "10", "kernel/panic_on_oops": "1", "vm/overcommit_memory": "2", // the user's
		"net/ipv4/conf/eth0/forwarding": "1", "net/netfilter/nf_conntrack_tcp_timeout_established": "86400", "net/ipv4/conf/cni0/forwarding": "1",
	} {
		m.write("/proc/sys/"+name, value+"\n")
	}
	left := m.remove(m.e.sysctls(), before)
	if want := []string{"vm.overcommit_memory stays 2: somebody else has set it"}; !slices.Equal(left, want) {
		t.Error(cmp.Diff(want, left))
	}
	for name, want := range map[string]string{
		"net/ipv4/ip_forward": "0", "kernel/panic": "0", "kernel/panic_on_oops": "0", "vm/overcommit_memory": "2",
		"net/ipv4/conf/eth0/forwarding": "0", "net/netfilter/nf_conntrack_tcp_timeout_established": "432000", "net/ipv4/conf/cni0/forwarding": "1",
	} {
		if got := m.read("/proc/sys/" + name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

// TestSysctlsOfOthersStay: what somebody has set for every boot meanwhile, as for a VPN, is his.
func TestSysctlsOfOthersStay(t *testing.T) {
	m := newMachine(t)
	all := []string{"net/ipv4/ip_forward", "net/ipv4/conf/eth0.7/forwarding", "vm/panic_on_oom", "kernel/panic"}
	for _, name := range all {
		m.write("/proc/sys/"+name, "0\n")
	}
	before := m.list(m.e.sysctls())
	for _, name := range all {
		m.write("/proc/sys/"+name, "1\n")
	}
	m.write("/etc/sysctl.d/99-vpn.conf", "# forwarding\n net.ipv4.ip_forward=1\n-net.ipv4.conf.eth0/7.forwarding = 1\nvm.panic_on_oom = 1\n")
	m.write("/etc/sysctl.d/10-early.conf", "net.ipv4.ip_forward=0\n#kernel.panic = 1\n")
	m.write("/etc/sysctl.conf", "vm/panic_on_oom = 0\n")
	left := m.remove(m.e.sysctls(), before)
	want := []string{
		"net.ipv4.ip_forward stays 1: /etc/sysctl.d/99-vpn.conf sets it",
		"net.ipv4.conf.eth0.7.forwarding stays 1: /etc/sysctl.d/99-vpn.conf sets it",
	}
	if !slices.Equal(left, want) {
		t.Error(cmp.Diff(want, left))
	}
	if got := m.read("/proc/sys/vm/panic_on_oom") + m.read("/proc/sys/kernel/panic"); got != "00" {
		t.Errorf("the others are %s", got)
	}
}

func TestCgroups(t *testing.T) {
	m := newMachine(t)
	m.mkdir("/proc", "/sys/fs/cgroup/memory/kubepods") // another kubelet's
	before := m.list(m.e.cgroups())
	m.mkdir("/sys/fs/cgroup/memory/kubepods.slice/a/b", "/sys/fs/cgroup/pids/kubepods.slice", "/sys/fs/cgroup/memory/docker")
	if err := os.Symlink("pids", m.e.path("/sys/fs/cgroup/alias")); err != nil {
		t.Fatal(err)
	}
	var stopped []string
	m.e.Stop = func(_ context.Context, unit string) error { stopped = append(stopped, unit); return nil }
	if left := m.remove(m.e.cgroups(), before); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	if want := []string{"kubepods.slice"}; !slices.Equal(stopped, want) {
		t.Errorf("stopped %v", stopped)
	}
	got := m.there("/sys/fs/cgroup/memory/kubepods", "/sys/fs/cgroup/memory/kubepods.slice", "/sys/fs/cgroup/pids/kubepods.slice", "/sys/fs/cgroup/memory/docker")
	if want := []string{"/sys/fs/cgroup/memory/kubepods", "/sys/fs/cgroup/memory/docker"}; !slices.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

// TestCgroupsOfContainers: in the unified hierarchy a node in a container has its groups a level below the top.
func TestCgroupsOfContainers(t *testing.T) {
	m := newMachine(t)
	m.mkdir("/proc", "/sys/fs/cgroup/lxc.payload.one/kubepods.slice", "/sys/fs/cgroup/lxc.payload.one/kubepods")
	m.write("/sys/fs/cgroup/cgroup.controllers", "memory\n")
	m.e.Stop = func(_ context.Context, unit string) error { t.Errorf("stopped %s", unit); return nil }
	if left := m.remove(m.e.cgroups(), nil); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	if got := m.there("/sys/fs/cgroup/lxc.payload.one/kubepods.slice", "/sys/fs/cgroup/lxc.payload.one/kubepods"); len(got) != 2 {
		t.Errorf("still there are only %v", got)
	}
}

// TestSliceOfOthersIsNotStopped: the unit holds the groups of all hierarchies, also those that were there before.
func TestSliceOfOthersIsNotStopped(t *testing.T) {
	m := newMachine(t)
	m.mkdir("/proc", "/sys/fs/cgroup/systemd/kubepods.slice")
	before := m.list(m.e.cgroups())
	m.mkdir("/sys/fs/cgroup/memory/kubepods.slice")
	m.e.Stop = func(_ context.Context, unit string) error { t.Errorf("stopped %s", unit); return nil }
	m.remove(m.e.cgroups(), before)
	if got := m.there("/sys/fs/cgroup/systemd/kubepods.slice", "/sys/fs/cgroup/memory/kubepods.slice"); !slices.Equal(got, before) {
		t.Errorf("still there: %v", got)
	}
}

// TestOursAreKnownByTheirProgram uses a tree of /proc: a shim with its container, its orphan, another runtime.
func TestOursAreKnownByTheirProgram(t *testing.T) {
	m := newMachine(t)
	for pid, p := range map[string]struct{ parent, exe string }{
		"100": {"1", "/var/lib/rancher/k3s/data/d0a4/bin/containerd-shim-runc-v2"},
		"101": {"100", "/pause"},
		"102": {"101", "/bin/sh"},
		"103": {"1", "/var/lib/rancher/k3s/data/d0a4/bin/k3s (deleted)"},
		"200": {"1", "/usr/bin/containerd-shim-runc-v2"},
		"201": {"200", "/bin/sleep"},
		"300": {"1", "/var/lib/rancher/k3s/storage/pvc/program"},
		"400": {"399", "/var/lib/rancher/k3s/data/d0a4/bin/k3s"}, // in a container of another runtime
		"401": {"400", "/var/lib/rancher/k3s/data/d0a4/bin/containerd"},
		"500": {"1", "/data/k3s/data/d0a4/bin/containerd-shim-runc-v2"},
	} {
		m.write("/proc/"+pid+"/stat", pid+" (a name) S "+p.parent+" 1 1\n")
		root := m.e.Root
		if pid[0] == '4' {
			root = m.e.path("/var/lib/lxc/one/rootfs")
		}
		for name, to := range map[string]string{"exe": p.exe, "root": root} {
			if err := os.Symlink(to, m.e.path("/proc/"+pid+"/"+name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	m.mkdir("/var/lib/lxc/one/rootfs")
	check := func(want ...int) {
		t.Helper()
		if got, err := m.e.ours(); err != nil || !slices.Equal(got, want) {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
	}
	check(100, 101, 102, 103)
	// the kernel tells where a link leads to
	m.mkdir("/data/k3s", "/var/lib/rancher")
	if err := os.Symlink(m.e.path("/data/k3s"), m.e.path("/var/lib/rancher/k3s")); err != nil {
		t.Fatal(err)
	}
	check(100, 101, 102, 103, 500)
}

func TestMountsOfPods(t *testing.T) {
	all, unknown := mounttable.Parse([]byte(`1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 0:1 / /run/k3s/containerd/io.containerd.grpc.v1.cri/sandboxes/a/shm rw shared:1 - tmpfs shm rw
3 1 0:1 / /var/lib/kubelet/pods/a/volumes/x\040y rw - nfs server:/x rw
4 1 0:1 / /var/lib/kubelet/mine rw - tmpfs none rw
5 1 0:1 / /var/lib/rancher/k3s/storage/mine rw - ext4 /dev/loop0 rw
6 1 0:1 / /var/lib/rancher/k3s rw - ext4 /dev/sdb rw
7 1 0:4 net:[1] /run/netns/cni-1 rw - nsfs nsfs rw
8 1 0:4 net:[2] /run/netns/mine rw - nsfs nsfs rw
9 1 0:4 / /run/netns/cni-2 rw - tmpfs none rw
10 1 0:1 / /var/lib/rancher/k3s/agent/containerd/tmpmounts/containerd-mount1 rw - overlay overlay rw
11 1 0:1 / /run/k3s rw - tmpfs none rw
12 1 0:1 / /var/lib/kubelet/podsmine rw - tmpfs none rw
not a line
`))
	if unknown != 1 {
		t.Fatal(unknown)
	}
	got := points(ofPods(all, "/var/lib/rancher/k3s"))
	want := []string{
		"/run/k3s/containerd/io.containerd.grpc.v1.cri/sandboxes/a/shm", "/run/netns/cni-1",
		"/var/lib/kubelet/pods/a/volumes/x y", "/var/lib/rancher/k3s/agent/containerd/tmpmounts/containerd-mount1",
	}
	if !slices.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

const saved = `# Generated by iptables-save v1.8.9
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-ROUTER-INPUT - [0:0]
:CNI-ADMIN - [0:0]
:MINE - [0:0]
-A INPUT -m comment --comment "kube-router netpol - X" -j KUBE-ROUTER-INPUT
-A INPUT -p tcp -m comment --comment "say \"KUBE-FORWARD\"" -j DROP
-A INPUT -m comment --comment "KUBE-ROUTER rule to explicitly ACCEPT traffic that comply to network policies" -m mark --mark 0x20000/0x20000 -j ACCEPT
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A MINE -j DROP
COMMIT
`

// TestLegacyRulesGoOneByOne wants exact commands: rules by their own words, chains by name, nothing of anybody else's.
func TestLegacyRulesGoOneByOne(t *testing.T) {
	m := newMachine(t)
	m.write("/proc/net/ip_tables_names", "filter\n")
	m.write("/var/lib/rancher/k3s/data/current/bin/aux/iptables-legacy", "")
	var ran []string
	m.e.Run = func(_ context.Context, _ time.Duration, argv ...string) ([]byte, error) {
		if strings.HasSuffix(argv[0], "-save") {
			return []byte(saved), nil
		}
		ran = append(ran, strings.Join(argv, "|"))
		if slices.Contains(argv, "KUBE-FORWARD") && slices.Contains(argv, "-X") {
			return nil, errors.New("in use")
		}
		return nil, nil
	}
	left, err := m.e.legacyRules().Remove(t.Context(), []string{"iptables-legacy filter CNI-ADMIN"})
	if err != nil {
		t.Fatal(err)
	}
	program := "/var/lib/rancher/k3s/data/current/bin/aux/iptables-legacy|-w|5|-t|filter|"
	want := []string{
		program + "-D|INPUT|-m|comment|--comment|kube-router netpol - X|-j|KUBE-ROUTER-INPUT",
		program + "-D|INPUT|-m|comment|--comment|KUBE-ROUTER rule to explicitly ACCEPT traffic that comply to network policies|-m|mark|--mark|0x20000/0x20000|-j|ACCEPT",
		program + "-D|FORWARD|-m|comment|--comment|kubernetes forwarding rules|-j|KUBE-FORWARD",
		program + "-F|KUBE-FORWARD", program + "-F|KUBE-ROUTER-INPUT", program + "-X|KUBE-FORWARD", program + "-X|KUBE-ROUTER-INPUT",
	}
	if !slices.Equal(ran, want) {
		t.Error(cmp.Diff(want, ran))
	}
	if len(left) != 1 || !strings.Contains(left[0], "in use") {
		t.Errorf("left %v", left)
	}
}

// TestLegacyRulesOfOthersStay: those of another runtime that uses the plugins of CNI too, and of a router that was there before.
func TestLegacyRulesOfOthersStay(t *testing.T) {
	tables := parseSaved([]byte(`*nat
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-DN-ours - [0:0]
:CNI-DN-theirs - [0:0]
-A PREROUTING -j CNI-HOSTPORT-DNAT
-A PREROUTING -m comment --comment "KUBE-ROUTER rule to explicitly ACCEPT traffic" -j ACCEPT
-A CNI-HOSTPORT-DNAT -m comment --comment "dnat name: \"cbr0\" id: \"1\"" -j CNI-DN-ours
-A CNI-HOSTPORT-DNAT -m comment --comment "dnat name: \"podman\" id: \"2\"" -j CNI-DN-theirs
-A CNI-DN-theirs -p tcp -m comment --comment "dnat name: \"podman\" id: \"2\"" -j ACCEPT
COMMIT
`))
	var got []string
	for _, argv := range tables[0].removal("x", []string{"x nat KUBE-ROUTER-INPUT"}) {
		got = append(got, strings.Join(argv[5:], " "))
	}
	want := []string{`-D CNI-HOSTPORT-DNAT -m comment --comment dnat name: "cbr0" id: "1" -j CNI-DN-ours`, "-F CNI-DN-ours", "-X CNI-DN-ours"}
	if !slices.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

func TestParseModules(t *testing.T) {
	got, err := parseModules(strings.NewReader("br_netfilter 32768 0 - Live 0x0\nbridge 311296 1 br_netfilter, Live 0x0\nbad\n"))
	if want := map[string]bool{"br_netfilter": false, "bridge": true}; err != nil || !cmp.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}

func FuzzParseSaved(f *testing.F) {
	f.Add([]byte(saved))
	f.Add([]byte("*x\n-A \"\\"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, table := range parseSaved(raw) {
			for _, argv := range table.removal("iptables-legacy", nil) {
				if len(argv) < 7 || argv[5] == "-D" && len(argv) < 8 {
					t.Errorf("a command that says not what: %q", argv)
				}
			}
		}
	})
}

func FuzzMountsOfPods(f *testing.F) {
	f.Add("7 1 0:4 net:[1] /run/netns/cni-1 rw - nsfs nsfs rw\n")
	f.Add(`3 1 0:1 / /var/lib/kubelet/pods/a/x\040y rw - nfs server:/x rw`)
	f.Fuzz(func(t *testing.T, text string) {
		all, _ := mounttable.Parse([]byte(text))
		for _, m := range ofPods(all, "/var/lib/rancher/k3s") {
			if !strings.HasPrefix(m.Point, "/") {
				t.Errorf("%q is no place", m.Point)
			}
		}
	})
}

func FuzzParseSysctls(f *testing.F) {
	f.Add([]byte("net.ipv4.ip_forward=1\n-a/b.c = 1 2\n#x=\n;y=\n=\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for name, value := range parseSysctls(text) {
			if name == "" || strings.ContainsAny(value, "\n ") {
				t.Errorf("%q=%q", name, value)
			}
		}
	})
}

func FuzzParseModules(f *testing.F) {
	f.Add("bridge 311296 1 br_netfilter, Live 0x0\n")
	f.Fuzz(func(t *testing.T, text string) {
		used, _ := parseModules(strings.NewReader(text))
		for name := range used {
			if name == "" || strings.ContainsAny(name, " \n") {
				t.Errorf("a module %q", name)
			}
		}
	})
}

// TestPassingMounts wants no difference of a machine to be told that systemd makes by itself.
func TestPassingMounts(t *testing.T) {
	for point, want := range map[string]bool{
		"/run/credentials/systemd-sysctl.service": true, "/run/user/1000": true, "/run/user/1000/doc": true,
		"/run": false, "/run/credentials": false, "/run/usermounts/x": false, "/run/k3s/containerd": false, "/srv/run/user/1": false,
	} {
		if got := passing(point); got != want {
			t.Errorf("%s: got %v, want %v", point, got, want)
		}
	}
}
