package wire

import (
	"strings"
	"testing"
)

func TestTargets(t *testing.T) {
	for text, want := range map[string]Target{
		"svc/shop/web:80":         {"tcp", KindService, "shop", "web", "80"},
		"service/shop/web:http":   {"tcp", KindService, "shop", "web", "http"},
		"pods/shop/web-0.x:65535": {"tcp", KindPod, "shop", "web-0.x", "65535"},
	} {
		got, err := ParseTarget("tcp", text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
			continue
		}
		if again, err := TargetOfPath(got.Path()); err != nil || again != got {
			t.Errorf("%s: %s becomes %+v, %v", text, got.Path(), again, err)
		}
	}
	if n := (Target{Port: "080"}).Number(); n != 0 {
		t.Errorf("080 is %d", n)
	}
}

// TestNoTargets: addresses in whatever form are no names of services, and nothing hides in a path.
func TestNoTargets(t *testing.T) {
	for _, text := range []string{
		"", "svc", "svc/shop/web", "svc/shop/web:", "svc/shop/web:0", "svc/shop/web:65536", "svc/shop/web:080", "svc/shop/web:+80",
		"svc/shop/127.0.0.1:80", "svc/shop/0x7f.1:80", "svc/shop/2130706433.:80", "svc/shop/[::1]:80", "svc/shop/::1:80", "svc/shop/a.b:80", "svc/a.b/web:80",
		"svc/shop/WEB:80", "svc/../web:80", "svc/shop/..:80", "svc/shop/web%2f:80", "svc//web:80", "svc/shop/web/x:80", "node/shop/web:80", "pod/shop/..:80",
		"pod/shop/-a:80", "pod/shop/" + strings.Repeat("a", 254) + ":80", "svc/shop/" + strings.Repeat("a", 64) + ":80", "svc/shop/web:a_b", "svc/shop/web:sixteen-letters-x",
		"svc/shop/web:80:90", "svc/shop/web:http\n", "svc/shop/web\x00:80", "svc/shop/web@x:80",
	} {
		if got, err := ParseTarget("tcp", text); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
	for _, path := range []string{"", "/", "/tcp/svc/shop/web", "/tcp/svc/shop/web/80/", "tcp/svc/shop/web/80", "/sctp/svc/shop/web/80", "/tcp/svc/shop/web/80/x", "/tcp/svc/sh%6fp/web/80", "/tcp/svc/shop//80"} {
		if got, err := TargetOfPath(path); err == nil {
			t.Errorf("%q is %+v", path, got)
		}
	}
}

func FuzzTarget(f *testing.F) {
	f.Add("/tcp/svc/shop/web/80")
	f.Add("/udp/pod/kube-system/coredns-0/dns")
	f.Add("/tcp/svc/shop/127.0.0.1/80")
	f.Fuzz(func(t *testing.T, path string) {
		target, err := TargetOfPath(path)
		if err != nil {
			return
		}
		if target.Path() != path {
			t.Fatalf("%q became %q", path, target.Path())
		}
		if again, err := ParseTarget(target.Network, target.String()); err != nil || again != target {
			t.Fatalf("%q became %+v, %v", target.String(), again, err)
		}
		if strings.ContainsAny(path, "%\\?# \n") || strings.Contains(path, "..") {
			t.Fatalf("%q passes", path)
		}
	})
}
