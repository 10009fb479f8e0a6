package trial

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseModules(t *testing.T) {
	got := ParseModules([]byte(`br_netfilter 36864 0 - Live 0x0000000000000000
bridge 311296 1 br_netfilter, Live 0xffffffffc0a00000
nf_conntrack 176128 4 nf_nat,xt_conntrack,nf_conntrack_netlink,xt_MASQUERADE, Live 0x0
fixed 4096 - - Live 0x0
torn 4096
`))
	want := map[string]Module{"br_netfilter": {0}, "bridge": {1}, "nf_conntrack": {4}, "fixed": {-1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseModulesDep(t *testing.T) {
	got := ParseModulesDep([]byte(`kernel/net/bridge/br_netfilter.ko.xz: kernel/net/bridge/bridge.ko.xz kernel/net/802/stp.ko.xz kernel/net/llc/llc.ko.xz
kernel/fs/overlayfs/overlay.ko:
kernel/drivers/net/wireguard/libchacha20-poly1305.ko.zst: kernel/a.ko.zst
/etc/passwd.ko:
kernel/evil.ko: ../../../tmp/x.ko
kernel/README: kernel/x.ko
torn
`))
	want := map[string][]string{
		"br_netfilter":         {"kernel/net/bridge/br_netfilter.ko.xz", "kernel/net/bridge/bridge.ko.xz", "kernel/net/802/stp.ko.xz", "kernel/net/llc/llc.ko.xz"},
		"overlay":              {"kernel/fs/overlayfs/overlay.ko"},
		"libchacha20_poly1305": {"kernel/drivers/net/wireguard/libchacha20-poly1305.ko.zst", "kernel/a.ko.zst"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseModules(f *testing.F) {
	f.Add([]byte("a 1 0 - Live 0x0\nb 1 - -\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for name := range ParseModules(b) {
			if name == "" {
				t.Error("a module without a name")
			}
		}
	})
}

func FuzzParseModulesDep(f *testing.F) {
	f.Add([]byte("kernel/a-b.ko.xz: kernel/c.ko\n/x.ko:\n../y.ko:\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for name, files := range ParseModulesDep(b) {
			if name == "" || len(files) == 0 || moduleName(files[0]) != name {
				t.Errorf("%q: %q", name, files)
			}
		}
	})
}

func TestJoin(t *testing.T) {
	for _, c := range [][3]string{{"", "", ""}, {"a", "", "a"}, {"", "b", "b"}, {"a", "b", "a; b"}} {
		if got := join(c[0], c[1]); got != c[2] {
			t.Errorf("join(%q, %q) is %q", c[0], c[1], got)
		}
	}
}
