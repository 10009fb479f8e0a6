package host

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCaptureReplays captures the machine that runs the test: replayed, it shows the same facts.
func TestCaptureReplays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "machine")
	trials := map[string]TrialResult{"overlay": {OK: Is(true)}}
	t.Setenv("DOCKER_HOST", "unix://"+fakeEngine(t, map[string]string{
		`/containers/json{"label":["app=k3d"]}`: k3dNodes, "/containers/json": "[]", "/version": dockerVersion, "/info": `{"Driver":"overlay2"}`,
	}))
	t.Setenv("https_proxy", "http://joe:s3cret@93.184.216.34:3128/path?key=s3cret")
	t.Setenv("no_proxy", "localhost,93.184.216.34")
	measured := map[string]TrialResult{"overlay": {OK: Is(true)}, "fsync_p99_ms": {OK: Is(true), Detail: "4.5 ms", Value: Is(4.5)}}
	live := whole(t, func() Facts {
		f, err := Capture(t.Context(), dir, measured)
		if err != nil {
			t.Fatal(err)
		}
		return f
	})
	s := load(t, dir)
	replayed := Collect(t.Context(), s)
	for i := range live.Disk { // the parent that was measured is not in the contract
		live.Disk[i].At, replayed.Disk[i].At = "", ""
	}
	if live.Proxy.HTTPS != "http://93.184.216.34:3128" || replayed.Proxy.HTTPS != "http://192.0.2.1:3128" || len(live.Clusters) < 2 {
		t.Errorf("proxy %+v, replayed %+v, clusters %+v", live.Proxy, replayed.Proxy, live.Clusters)
	}
	withoutAddresses(&live)
	withoutAddresses(&replayed)
	live.Memory.Available, replayed.Memory.Available = Known[uint64]{}, Known[uint64]{}
	if diff := cmp.Diff(live, replayed); diff != "" {
		t.Errorf("live and replayed differ:\n%s", diff)
	}
	if got := s.Snapshot().Numbers["fsync_p99_ms"]; got != 4.5 {
		t.Errorf("the number that a trial measured is %v", got)
	}
	if diff := cmp.Diff(trials, s.Snapshot().Trials); diff != "" {
		t.Error(diff)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, secret := range []string{"s3cret", "93.184.216.34"} {
			if bytes.Contains(b, []byte(secret)) {
				t.Errorf("%s holds %q", path, secret)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "proc/net/tcp")); err == nil {
		t.Error("the capture holds the addresses of peers")
	}
}

// withoutAddresses replaces what a capture replaces.
func withoutAddresses(f *Facts) {
	f.Routes, f.Proxy, f.Firewall.Rejects = documentedRoutes(f.Routes), Proxy{}, nil
	for _, list := range []*[]string{&f.DNS.Nameservers, &f.DNS.Servers} {
		*list = slices.Clone(*list)
		for i, text := range *list {
			(*list)[i] = string(redactAddresses([]byte(text)))
		}
	}
	f.Addresses.Node, f.Addresses.Own = string(redactAddresses([]byte(f.Addresses.Node))), nil
}

func TestRedact(t *testing.T) {
	for _, c := range []struct{ name, path, in, want string }{
		{"environment of pid 1", "/proc/1/environ", "TOKEN=abc\x00container=lxc\x00HOME=/\x00", "container=lxc\x00"},
		{"no container", "/proc/1/environ", "TOKEN=abc\x00", ""},
		{"machine id", "/etc/machine-id", "58b773e0f53d4073a061aa8d1f9c17e4\n", strings.Repeat("0", 32) + "\n"},
		{"no machine id yet", "/etc/machine-id", "uninitialized\n", "uninitialized\n"},
		{"ledger", LedgerFile, `{"op":"change","id":4,"target":"/usr/local/bin/k3s","before":{"value":"s3cret"}}` + "\n", `{"op":"change","id":1,"target":"/usr/local/bin/k3s"}` + "\n"},
		{"public address", "/etc/hosts", "93.184.216.34 a 10.1.2.3 b 127.0.0.1 c", "192.0.2.1 a 10.1.2.3 b 127.0.0.1 c"},
		{"public IPv6 address", "/etc/hosts", "2606:2800:220:1::1 a fe80::1 b ::1 c", "2001:db8::1 a fe80::1 b ::1 c"},
		{"version is no address", "/x", "PCRE 10.2.3.4.5 at 12:30", "PCRE 10.2.3.4.5 at 12:30"},
		{"password of a share", "/proc/self/mountinfo", "1 2 0:3 / /mnt rw - cifs //nas/home rw,username=joe,password=x\n", "1 2 0:3 / /mnt rw - cifs redacted rw\n"},
		{"cloud-init", instanceData, `{"v1":{"cloud_name":"aws","local_hostname":"joe"},"ds":{"meta_data":{"public_ipv4":"93.184.216.34"}}}`, "{\"v1\": {\"cloud_name\": \"aws\"}}\n"},
		{"rules", rulesV4, "# joe\n*filter\n-A INPUT -s 93.184.216.34 -m comment --comment \"of joe\" -j DROP\n", "*filter\n-A INPUT -s 192.0.2.1 -j DROP\n"},
		{"rules of nft", nftConf, "# joe\ndefine x = 93.184.216.34\nchain a { type filter hook input priority 0; policy drop; }", "chain input { type filter hook input priority 0; policy drop; }\n"},
		{"minikube", "/home/joe/.minikube/profiles/a/config.json", `{"Driver":"docker","Env":["TOKEN=x"]}`, "{\"Driver\": \"docker\"}\n"},
		{"kubeconfig that is none", "/root/.kube/config", "token: x", ""},
		{"inside and documentation", "/x", "100.64.1.2 203.0.113.9 2001:db8::7", "100.64.1.2 203.0.113.9 2001:db8::7"},
	} {
		if got := string(redact(c.path, []byte(c.in))); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
