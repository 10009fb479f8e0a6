package host

import (
	"bytes"
	"compress/gzip"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestClean(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "Debian GNU/Linux 12", "Debian GNU/Linux 12"},
		{"other scripts", "Жук 甲虫", "Жук 甲虫"},
		{"terminal", "a\x1b[31mb\x07\x00c\u202ed", "a[31mbcd"},
		{"not UTF-8", "a\xff\xfeb", "ab"},
		{"long", strings.Repeat("x", 9000), strings.Repeat("x", maxText)},
		{"cut within a letter", "x" + strings.Repeat("ж", 200), "x" + strings.Repeat("ж", 127)},
	} {
		if got := clean(c.in); got != c.want || !utf8.ValidString(got) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestFamilyOfDerivatives holds ID and ID_LIKE as these systems have them.
func TestFamilyOfDerivatives(t *testing.T) {
	for _, c := range []struct{ id, like, want string }{
		{"linuxmint", "debian", "debian"}, // LMDE
		{"linuxmint", "ubuntu debian", "debian"},
		{"raspbian", "debian", "debian"},
		{"kali", "debian", "debian"},
		{"pop", "ubuntu debian", "debian"},
		{"rocky", "rhel centos fedora", "rhel"},
		{"almalinux", "rhel centos fedora", "rhel"},
		{"ol", "fedora", "rhel"},
		{"amzn", "centos rhel fedora", "rhel"},
		{"openEuler", "", "rhel"},
		{"opensuse-tumbleweed", "opensuse suse", "suse"},
		{"opensuse-microos", "suse opensuse opensuse-tumbleweed", "suse"},
		{"sle-micro", "suse", "suse"},
		{"sl-micro", "", "suse"},
		{"sles", "suse", "suse"},
		{"endeavouros", "arch", "arch"},
		{"postmarketos", "alpine", "alpine"},
		{"nixos", "", "nixos"},
		{"gentoo", "", "gentoo"},
		{"void", "", "void"},
		{"flatcar", "coreos", "flatcar"},
	} {
		if o := ParseOSRelease([]byte("ID=" + c.id + "\nID_LIKE=\"" + c.like + "\"\n")); o.Family != c.want {
			t.Errorf("%s is of family %q, want %q", c.id, o.Family, c.want)
		}
	}
}

func TestDoubt(t *testing.T) {
	for _, c := range []struct{ name, family, there, sure, why string }{
		{"honest", "debian", "/etc/debian_version", "debian", ""},
		{"nothing to see", "debian", "", "debian", ""},
		{"liar", "debian", "/etc/alpine-release", "debian", "/etc/alpine-release is there"},
		{"foreign installer", "debian", "/etc/debian_version /etc/redhat-release", "debian", ""},
		{"name of its own", "acme", "/etc/debian_version", "acme", "/etc/debian_version is there"},
		{"no os-release", "", "/etc/redhat-release", "rhel", ""},
		{"two of one family", "", "/etc/redhat-release /etc/amazon-linux-release", "rhel", ""},
		{"no os-release and a quarrel", "", "/etc/redhat-release /etc/debian_version", "", "there is no os-release, and the files of several systems are there, /etc/debian_version among them"},
		{"nothing at all", "", "", "", ""},
	} {
		sure, why := doubt(c.family, func(p string) bool { return c.there != "" && strings.Contains(c.there+" ", p+" ") })
		if sure != c.sure || why != c.why {
			t.Errorf("%s: %q, %q", c.name, sure, why)
		}
	}
}

func TestParseSystemVersion(t *testing.T) {
	const head = `<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd"><plist version="1.0"><dict>`
	for in, want := range map[string]string{
		head + "<key>ProductName</key><string>macOS</string>\n<key>ProductVersion</key>\n<string>14.5</string></dict></plist>": "14.5",
		head + "<key>ProductVersion</key><string>15":                                     "",
		head + "<key>ProductName</key><string>ProductVersion</string><string>1</string>": "",
		"bplist00\xd1\x01\x02": "",
		"":                     "",
	} {
		if got := ParseSystemVersion([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestIsDarwin(t *testing.T) {
	for _, c := range []struct {
		name string
		in   Uname
		want bool
	}{
		{"said so", Uname{Sysname: "Darwin", Machine: "x86_64", Release: "23.5.0"}, true},
		{"apple silicon", Uname{Machine: "arm64", Release: "23.5.0"}, true},
		{"linux", Uname{Machine: "aarch64", Release: "23.5.0"}, false},
		{"linux that says so", Uname{Sysname: "Linux", Machine: "arm64", Release: "23.5.0"}, false},
		{"odd name", Uname{Machine: "arm64", Release: "6.1.0"}, false},
	} {
		if got := isDarwin(c.in); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestParseCPULevel(t *testing.T) {
	const v1 = "flags\t\t: fpu cx8 cmov mmx fxsr sse sse2 syscall lm"
	const v2 = v1 + " pni ssse3 cx16 sse4_1 sse4_2 popcnt lahf_lm"
	const v3 = v2 + " fma movbe xsave avx f16c abm bmi1 avx2 bmi2"
	for _, c := range []struct {
		name, in string
		want     Known[int]
	}{
		{"empty", "", Known[int]{}},
		{"arm", "Features : fp asimd", Known[int]{}},
		{"32 bit", "flags : fpu cx8 cmov mmx fxsr sse sse2", Known[int]{}},
		{"v1", v1, Is(1)},
		{"v2", "processor : 0\n" + v2 + "\n", Is(2)},
		{"v2 with avx alone", v2 + " avx", Is(2)},
		{"v3", v3, Is(3)},
		{"v4", v3 + " avx512f avx512bw avx512cd avx512dq avx512vl", Is(4)},
		{"v4 without what v2 needs", v1 + " avx512f avx512bw avx512cd avx512dq avx512vl", Is(1)},
	} {
		if got := ParseCPULevel([]byte(c.in)); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestParseModules(t *testing.T) {
	got := ParseModules([]byte("overlay 155648 1 - Live 0x0\nbr_netfilter 32768 0 - Live 0x0\nnf_conntrack_netlink 1 0\n\nxt_MASQUERADE"))
	if diff := cmp.Diff(map[string]bool{"overlay": true, "br_netfilter": true, "xt_MASQUERADE": true}, got); diff != "" {
		t.Error(diff)
	}
	files := []byte("kernel/net/bridge/br-netfilter.ko.xz: kernel/net/bridge/bridge.ko.xz\nkernel/net/netfilter/xt_masquerade.ko\nkernel/fs/overlayfs/overlay.ko.zst:\nvxlan\nkernel/net/ipv4/netfilter/ipt_MASQUERADE.ko:\n")
	if diff := cmp.Diff(map[string]bool{"br_netfilter": true, "overlay": true, "xt_MASQUERADE": true}, ParseModuleFiles(files)); diff != "" {
		t.Error(diff)
	}
	kept := string(redact("/lib/modules/6.1/modules.dep", files))
	if want := "br_netfilter.ko\noverlay.ko\nxt_MASQUERADE.ko\n"; kept != want {
		t.Errorf("kept %q, want %q", kept, want)
	}
}

func TestParseKernelConfig(t *testing.T) {
	in := []byte("#\n# Automatically generated\n#\nCONFIG_OVERLAY_FS=m\nCONFIG_CGROUPS=y\n# CONFIG_VXLAN is not set\nCONFIG_DEFAULT_HOSTNAME=\"secret\"\nCONFIG_MEMCG=maybe\nOVERLAY_FS=y\n")
	want := map[string]string{"CONFIG_OVERLAY_FS": "m", "CONFIG_CGROUPS": "y", "CONFIG_VXLAN": "n"}
	if diff := cmp.Diff(want, ParseKernelConfig(in)); diff != "" {
		t.Error(diff)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(in); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	kept, err := gunzip(keepConfigGz(packed.Bytes()))
	if err != nil || strings.Contains(string(kept), "secret") {
		t.Errorf("kept %q, %v", kept, err)
	}
	if diff := cmp.Diff(want, ParseKernelConfig(kept)); diff != "" {
		t.Error(diff)
	}
}

// TestGunzipIsBounded: a few KiB can hold a lot.
func TestGunzipIsBounded(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	for range 64 {
		if _, err := z.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err := gunzip(packed.Bytes()); err != nil || len(b) != maxConfig {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestParseSwaps(t *testing.T) {
	const head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
	for _, c := range []struct {
		name, in string
		want     Swap
	}{
		{"empty", "", Swap{}},
		{"none", head, Swap{Total: Is[uint64](0), Zram: Is(false)}},
		{"zram", head + "/dev/zram0 partition 1024 0 100\n", Swap{Total: Is[uint64](1 << 20), Zram: Is(true)}},
		{"both", head + "/dev/zram0 partition 1024 0 100\n/swap\\040file file 2048 0 -2\n", Swap{Total: Is[uint64](3 << 20), Zram: Is(false)}},
		{"absurd", head + "/dev/sda2 partition 99999999999999999 0 -2\n", Swap{}},
	} {
		if diff := cmp.Diff(c.want, ParseSwaps([]byte(c.in))); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
}

func TestParseOpenFiles(t *testing.T) {
	const head = "Limit                     Soft Limit           Hard Limit           Units     \n"
	for in, want := range map[string]Known[uint64]{
		head + "Max open files            1024                 524288               files     \n": Is[uint64](524288),
		head + "Max open files            unlimited            unlimited            files     \n": Is[uint64](math.MaxUint64),
		head + "Max open files            1024\n":                                                 {},
		head + "Max processes 1 2 processes\n":                                                    {},
		"":                                                                                        {},
	} {
		if got := ParseOpenFiles([]byte(in)); got != want {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
}

func TestParseLocks(t *testing.T) {
	got := ParseLocks([]byte("1: POSIX  ADVISORY  WRITE 1234 08:0a:131072 0 EOF\n1: -> POSIX  ADVISORY  WRITE 99 08:0a:131072 0 EOF\n" +
		"2: FLOCK  ADVISORY  WRITE -1 fe:00:17 0 EOF\n3: LEASE ACTIVE READ 1 00:1\nrubbish\n"))
	want := []lock{{1234, "8:10", 131072}, {-1, "254:0", 17}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(lock{})); diff != "" {
		t.Error(diff)
	}
}

func TestParseCloudInit(t *testing.T) {
	const running = `{"v1":{"datasource":"DataSourceNone","init":{"errors":[],"finished":1.5,"start":1},"init-local":{"errors":[],"finished":1},"modules-config":{"errors":[],"finished":2},"modules-final":{"errors":[],"finished":null,"start":3},"stage":"modules-final"}}`
	for _, c := range []struct{ name, in, want string }{
		{"running", running, "running"},
		{"between stages", strings.Replace(running, `"stage":"modules-final"`, `"stage":null`, 1), "running"},
		{"done", `{"v1":{"stage":null,"init":{"finished":1},"init-local":{"finished":1},"modules-config":{"finished":1},"modules-final":{"finished":1}}}`, "done"},
		{"error", `{"v1":{"stage":null,"init":{"finished":1,"errors":["x"]},"init-local":{"finished":1},"modules-config":{"finished":1},"modules-final":{"finished":1}}}`, "error"},
		{"not ours", `{"v2":{}}`, ""},
		{"broken", `{"v1":{"stage"`, ""},
	} {
		if got := ParseCloudStatus([]byte(c.in)); got != c.want {
			t.Errorf("%s: %q", c.name, got)
		}
		kept := keepCloud(cloudStatus, []byte(c.in))
		if got := ParseCloudStatus(kept); got != c.want || bytes.Contains(kept, []byte("DataSource")) {
			t.Errorf("%s: kept %s, which is %q", c.name, kept, got)
		}
	}
	for in, want := range map[string]string{`{"v1":{"datasource":"x","errors":[]}}`: "done", `{"v1":{"errors":["s3cret"]}}`: "error", `{}`: "", `[`: ""} {
		if got, _ := ParseCloudResult([]byte(in)); got != want {
			t.Errorf("%s: %q", in, got)
		}
		kept := keepCloud(cloudResult, []byte(in))
		if got, _ := ParseCloudResult(kept); got != want || bytes.Contains(kept, []byte("s3cret")) {
			t.Errorf("%s: kept %s", in, kept)
		}
	}
}

func TestParseCgroupWords(t *testing.T) {
	for in, want := range map[string][]string{
		"": {},
		"root=/dev/vda1 luks.key=abc cgroup_memory=1 cgroup_enable=memory quiet\n":                                              {"cgroup_memory=1", "cgroup_enable=memory"},
		"systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1 swapaccount=1 cgroup.memory=nokmem cg=\x1b[1m": {"systemd.unified_cgroup_hierarchy=0", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1", "swapaccount=1", "cgroup.memory=nokmem"},
	} {
		if diff := cmp.Diff(want, ParseCgroupWords([]byte(in))); diff != "" {
			t.Errorf("%q:\n%s", in, diff)
		}
	}
}

func TestParseDockerRoot(t *testing.T) {
	for in, want := range map[string]string{
		`{"data-root":"/srv/docker","proxies":{"http-proxy":"http://u:p@h"}}`: "/srv/docker",
		`{"data-root":"srv"}`: "", `{"data-root":"/a/../b"}`: "", `{"data-root":7}`: "", `{}`: "", ``: "",
	} {
		if got := ParseDockerRoot([]byte(in)); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestTimeService(t *testing.T) {
	for _, c := range []struct{ name, running, unit, want string }{
		{"nothing", "", "", ""},
		{"a name that is cut off", "systemd-timesyn", "", "systemd-timesyncd"},
		{"enabled, in a capture", "", "/etc/systemd/system/multi-user.target.wants/chrony.service", "chronyd"},
		{"what runs comes first", "ntpd", "/etc/systemd/system/sysinit.target.wants/systemd-timesyncd.service", "ntpd"},
	} {
		if got := timeService([]string{c.running}, func(p string) bool { return p == c.unit }); got != c.want {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

func TestKeep(t *testing.T) {
	for _, c := range []struct{ name, path, in, want string }{
		{"asset tag of a cloud", assetTag, "OracleCloud.com\n", "OracleCloud.com\n"},
		{"asset tag of a machine", assetTag, "CZ1234567\n", "\n"},
		{"command line", "/proc/cmdline", "rd.luks.key=x cgroup_enable=memory\n", "cgroup_enable=memory\n"},
		{"serial number", "/proc/cpuinfo", "Model : Pi\nSerial\t\t: 10000000abcdef\nflags : x\n", "Model : Pi\nflags : x\n"},
		{"proxy of the engine", dockerConfig, `{"data-root":"/d","proxies":{"http-proxy":"http://u:p@h"}}`, "{\"data-root\":\"/d\"}\n"},
		{"settings of a build", "/boot/config-6.1", "CONFIG_VETH=m\nCONFIG_BUILD_SALT=\"x\"\n", "CONFIG_VETH=m\n"},
		{"who holds locks", "/proc/locks", "1: POSIX", ""},
	} {
		if got := string(redact(c.path, []byte(c.in))); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
