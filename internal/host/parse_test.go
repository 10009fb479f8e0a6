package host

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/mounttable"
)

func TestParseOSRelease(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     OS
	}{
		{"empty", "", OS{}},
		{"quotes and comments", "# x\nID=\"ubuntu\"\nPRETTY_NAME='It is $HOME'\nID_LIKE=debian\n", OS{ID: "ubuntu", Name: "It is $HOME", Like: []string{"debian"}, Family: "debian"}},
		{"never run as shell", "ID=$(reboot)\nNAME=`id`\n", OS{ID: "$(reboot)", Family: "$(reboot)"}},
		{"two families", "ID=opensuse-leap\nID_LIKE=\"suse opensuse\"\nVERSION_ID=15.6", OS{ID: "opensuse-leap", Like: []string{"suse", "opensuse"}, Version: "15.6", Family: "suse"}},
		{"LMDE is no ubuntu", "ID=linuxmint\nID_LIKE=debian\n", OS{ID: "linuxmint", Like: []string{"debian"}, Family: "debian"}},
		{"amazon", "ID=amzn\nID_LIKE=\"fedora\"\nVERSION_ID=2023", OS{ID: "amzn", Like: []string{"fedora"}, Version: "2023", Family: "rhel"}},
		{"sles", "ID=sles\nID_LIKE=suse", OS{ID: "sles", Like: []string{"suse"}, Family: "suse"}},
		{"flatcar", "ID=flatcar\nID_LIKE=coreos", OS{ID: "flatcar", Like: []string{"coreos"}, Family: "flatcar"}},
		{"ostree", "ID=fedora\nVARIANT_ID=coreos\nOSTREE_VERSION='40.20241019.3.0'", OS{ID: "fedora", Variant: "coreos", Ostree: "40.20241019.3.0", Family: "rhel"}},
		{"escapes", `PRETTY_NAME="a \"b\" \$c"`, OS{Name: `a "b" $c`}},
	} {
		if diff := cmp.Diff(c.want, ParseOSRelease([]byte(c.in))); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
}

func TestParseKernelRelease(t *testing.T) {
	for in, want := range map[string][2]int{
		"6.1.0-28-amd64": {6, 1}, "4.18.0-553.el8.x86_64": {4, 18}, "2.6.32-042stab145.3": {2, 6}, "6.6.51+rpt-rpi-v8": {6, 6},
		"5.15.167.4-microsoft-standard-WSL2": {5, 15}, "10.0-rc1": {10, 0}, "": {}, "six.one": {}, "-6.1": {}, "6": {}, "6.x": {}, "99999999999999999999.1": {},
	} {
		if major, minor := ParseKernelRelease(in); [2]int{major, minor} != want {
			t.Errorf("%q: %d.%d, want %v", in, major, minor, want)
		}
	}
}

func TestKernelAtLeast(t *testing.T) {
	k := Kernel{Major: 4, Minor: 18}
	for _, c := range []struct {
		major, minor int
		want         bool
	}{{4, 18, true}, {4, 19, false}, {3, 20, true}, {5, 0, false}} {
		if got := k.AtLeast(c.major, c.minor); got != Is(c.want) {
			t.Errorf("4.18 at least %d.%d: %v", c.major, c.minor, got)
		}
	}
	if (Kernel{}).AtLeast(3, 10).OK {
		t.Error("an unknown kernel is compared")
	}
}

func TestParseWSL(t *testing.T) {
	for _, c := range []struct {
		release string
		interop bool
		want    int
	}{
		{"4.4.0-22621-Microsoft", true, 1},
		{"4.4.0-19041-Microsoft", false, 1},
		{"4.19.84-microsoft-standard", true, 2},
		{"5.15.167.4-microsoft-standard-WSL2", false, 2},
		{"6.6.36.3-mine", true, 2},
		{"", true, 2},
		{"6.8.0-1018-azure", false, 0},
		{"6.1.0-28-amd64", false, 0},
	} {
		if got := ParseWSL(c.release, c.interop); got != c.want {
			t.Errorf("%q (interop %v): %d, want %d", c.release, c.interop, got, c.want)
		}
	}
}

func TestParseELFClass(t *testing.T) {
	for in, want := range map[string]int{"\x7fELF\x01": 32, "\x7fELF\x02\x01": 64, "\x7fELF\x03": 0, "#!/bin": 0, "": 0} {
		got, err := ParseELFClass([]byte(in))
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
}

func TestLimits(t *testing.T) {
	for in, want := range map[string]Known[uint64]{"max\n": {}, "2147483648\n": Is[uint64](2 << 30), "9223372036854771712\n": {}, "": {}, "0": {}, "-1": {}} {
		if got := ParseMemoryLimit([]byte(in)); got != want {
			t.Errorf("memory limit %q: %v", in, got)
		}
	}
	for in, want := range map[string]Known[float64]{"max 100000\n": {}, "50000 100000\n": Is(0.5), "-1 100000": {}, "5 0": {}, "5": {}, "": {}} {
		if got := ParseCPUMax([]byte(in)); got != want {
			t.Errorf("cpu.max %q: %v", in, got)
		}
	}
	m := Memory{Total: Is[uint64](8), Limit: Is[uint64](4)}
	if m.Usable() != Is[uint64](4) || (Memory{Limit: Is[uint64](4)}).Usable() != Is[uint64](4) || (Memory{Total: Is[uint64](8), Limit: Is[uint64](9)}).Usable() != Is[uint64](8) {
		t.Error("usable memory is not the smaller of total and limit")
	}
	if (CPU{Count: Is(4), Quota: Is(1.5)}).Usable() != Is(1.5) || (CPU{Count: Is(1), Quota: Is(1.5)}).Usable() != Is(1.0) || (CPU{}).Usable().OK {
		t.Error("usable CPUs are not the smaller of count and quota")
	}
}

func TestParseCgroups(t *testing.T) {
	got := ParseCgroups([]byte("#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t1\t0\ncpu\t3\t66\t1\ncpuset\t9\t1\t1\nbroken line\n"))
	if want := []string{"cpu", "cpuset"}; !reflect.DeepEqual(got, want) {
		t.Errorf("controllers: %v", got)
	}
}

func TestParseCgroupPaths(t *testing.T) {
	got := ParseCgroupPaths([]byte("4:cpu,cpuacct:/docker/abc\n1:name=systemd:/init.scope\n0::/a:b\n3:x:relative\nnonsense\n"))
	want := map[string]string{"cpu": "/docker/abc", "cpuacct": "/docker/abc", "name=systemd": "/init.scope", "": "/a:b"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseMountinfo(t *testing.T) {
	all, _ := mounttable.Parse([]byte(`28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
31 28 0:25 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw
32 28 0:26 / /mnt/a\040b ro,relatime - xfs /dev/sdb rw
33 28 0:27 / /srv rw - ext4 /dev/sdc ro,errors=remount-ro
34 28 0:28 / /srv rw master:3 propagate_from:2 - tmpfs tmpfs rw
short line
35 28 0:29 / /x rw
`))
	table := mounts(all)
	if len(table) != 5 {
		t.Fatalf("%d mounts", len(table))
	}
	if m, _ := table.holding("/mnt/a b/c"); m.Type != "xfs" || !m.ReadOnly {
		t.Errorf("/mnt: %+v", m)
	}
	if m, _ := table.holding("/srv/x"); m.Type != "tmpfs" || m.ReadOnly {
		t.Errorf("the topmost mount does not win: %+v", m)
	}
	if m, _ := table.holding("/mnt/a bc"); m.Point != "/" {
		t.Errorf("a prefix of a name is taken for a parent: %+v", m)
	}
	if got := cgroupVersion(table); got != "v2" {
		t.Errorf("cgroup %s", got)
	}
	if _, ok := mounts(nil).holding("/x"); ok {
		t.Error("an empty table holds something")
	}
}

func TestParseSockets(t *testing.T) {
	tcp := `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 18422 1 0000000000000000 100 0 0 10 0
   1: 0100007F:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 20001 1 0000000000000000 100 0 0 10 0
   2: 0A00000A:0016 0B00000A:D431 01 00000000:00000000 02:0009E6F1 00000000     0        0 30001 2 0000000000000000 20 4 30 10 -1
   3: 00000000:ZZZZ 00000000:0000 0A 0:0 0:0 0 0 0 1
   4: torn
`
	if diff := cmp.Diff([]socket{{"tcp", 22, 18422}, {"tcp", 6443, 20001}}, parseSockets([]byte(tcp), "tcp"), cmp.AllowUnexported(socket{})); diff != "" {
		t.Error(diff)
	}
	udp := `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  101: 00000000000000000000000000000000:2118 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 777 2 0000000000000000 0
  102: 0100007F:0035 0100007F:0035 01 00000000:00000000 00:00000000 00000000   101        0 778 2 0000000000000000 0
`
	if diff := cmp.Diff([]socket{{"udp", 8472, 777}}, parseSockets([]byte(udp), "udp"), cmp.AllowUnexported(socket{})); diff != "" {
		t.Error(diff)
	}
}

func TestParseContainer(t *testing.T) {
	if got := ParseContainerVar([]byte("A=b\x00container=podman\x00SECRET=x\x00")); got != "podman" {
		t.Errorf("variable: %q", got)
	}
	for in, want := range map[string]string{
		"0::/init.scope\n": "", "4:memory:/docker/8f2c\n": "docker", "0::/system.slice/docker-8f2c.scope\n": "docker",
		"0::/kubepods.slice/x\n": "kubernetes", "3:cpu:/lxc/101/init.scope\n": "lxc", "0::/lxc.payload.web\n": "lxc", "0::/machine.slice/libpod-1.scope\n": "podman",
	} {
		if got := ParseCgroupContainer([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{"LXC": "lxc", "incus": "lxc", "systemd-nspawn": "systemd-nspawn", "oci": "other", "a b": "", "\x1b[31m": ""} {
		if got := containerName(in); got != want {
			t.Errorf("name %q: %q, want %q", in, got, want)
		}
	}
}

func TestHypervisor(t *testing.T) {
	virtual, real := Is(true), Is(false)
	for _, c := range []struct {
		vendor, product string
		flag            Known[bool]
		want            string
	}{
		{"QEMU", "Standard PC (Q35 + ICH9, 2009)", virtual, "kvm"},
		{"Amazon EC2", "t3.micro", virtual, "amazon"},
		{"Amazon EC2", "c5.metal", real, ""},
		{"Microsoft Corporation", "Virtual Machine", virtual, "hyperv"},
		{"Microsoft Corporation", "Surface Laptop", real, ""},
		{"Dell Inc.", "PowerEdge R640", real, ""},
		{"QEMU", "QEMU Virtual Machine", Known[bool]{}, "kvm"},
		{"", "", virtual, ""},
	} {
		if got := hypervisor(Hardware{Vendor: c.vendor, Product: c.product}, c.flag); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.vendor, c.product, got, c.want)
		}
	}
}

func TestParseLedger(t *testing.T) {
	got := ParseLedger([]byte(`{"ledger":"pipeops-ledger","version":1}
{"op":"change","id":1,"target":"/a"}
{"op":"made","id":1}
{"op":"change","id":2,"target":"/b"}
{"op":"undone","id":2}
{"op":"change","id":3,"target":"/c"}
{"op":"change","id":4,"targ`))
	if diff := cmp.Diff(map[string]bool{"/a": true, "/c": true}, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseDockerVersion(t *testing.T) {
	d, err := ParseDockerVersion([]byte(`{"Version":"28.2.2","ApiVersion":"1.50","MinAPIVersion":"1.24"}`))
	if err != nil || d.Server != "28.2.2" || d.API != "1.50" || !d.Reachable.Value {
		t.Errorf("%+v, %v", d, err)
	}
	for _, in := range []string{"", "{}", "<html>", "null"} {
		if d, err := ParseDockerVersion([]byte(in)); err == nil {
			t.Errorf("%q: %+v", in, d)
		}
	}
}

func TestValidNodeName(t *testing.T) {
	for in, want := range map[string]bool{"node1": true, "web-1.example.com": true, "my_host": false, "-a": false, "a-": false, "a..b": false, "": false, "Node": false} {
		if got := ValidNodeName(in); got != want {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func TestParseWholeIDMap(t *testing.T) {
	for in, want := range map[string]bool{"         0          0 4294967295\n": true, "0 100000 65536\n": false, "": false, "0 0 4294967295\n1 1 1\n": false} {
		if got := ParseWholeIDMap([]byte(in)); got != want {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func TestBytes(t *testing.T) {
	for in, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 900 << 20: "900 MiB", 4 << 30: "4 GiB", 4109987840: "3.8 GiB", 1 << 50: "1 PiB", 1 << 63: "8192 PiB"} {
		if got := Bytes(in); got != want {
			t.Errorf("%d: %q, want %q", in, got, want)
		}
	}
}

func TestKnown(t *testing.T) {
	var k Known[int]
	for _, c := range []struct {
		in   string
		want Known[int]
	}{{"null", Known[int]{}}, {"0", Is(0)}, {"7", Is(7)}} {
		if err := k.UnmarshalJSON([]byte(c.in)); err != nil || k != c.want {
			t.Errorf("%s: %v, %v", c.in, k, err)
		}
		if b, err := k.MarshalJSON(); err != nil || string(b) != c.in {
			t.Errorf("%v: %s, %v", k, b, err)
		}
	}
	if err := k.UnmarshalJSON([]byte(`"x"`)); err == nil || k.OK {
		t.Error("a string became a known number")
	}
}
