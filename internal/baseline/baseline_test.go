package baseline

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/host"
)

// machine is one in a folder, with a systemd that answers as it is told.
func machine(t *testing.T) (Env, func(path, content string)) {
	t.Helper()
	root := t.TempDir()
	write := func(path, content string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("/run/systemd/system/x", "")
	write("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n\nbad\n")
	write("/etc/group", "root:x:0:\n")
	write("/proc/sys/net/ipv4/ip_forward", "0\n")
	write("/var/lib/dpkg/status", "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2\nDescription: a shell\n Package: fake\n\nPackage: old\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n")
	e := Env{Root: root, Now: func() time.Time { return time.Date(2026, 11, 1, 12, 0, 0, 5, time.UTC) }}
	e.Run = func(_ context.Context, _ time.Duration, argv ...string) ([]byte, error) {
		switch {
		case slices.Contains(argv, "list-unit-files"):
			return []byte("ssh.service enabled enabled\ncron.service disabled enabled\nboot.mount static -\nrun-x.service transient -\n"), nil
		case slices.Contains(argv, "list-units"):
			return []byte("ssh.service loaded active running SSH\npackagekit.service loaded active running x\n"), nil
		}
		return nil, errors.New("no such program")
	}
	return e, write
}

func facts(ports ...host.Listener) host.Facts {
	return host.Facts{Listening: append([]host.Listener{}, ports...)}
}

func TestTake(t *testing.T) {
	e, _ := machine(t)
	b := Take(t.Context(), e, facts(host.Listener{Proto: "tcp", Port: 22}, host.Listener{Proto: "udp", Port: 40000}))
	want := map[string][]string{
		Files:    {"/etc/group", "/etc/passwd", "/run/systemd", "/var/lib/dpkg"},
		Units:    {"cron.service=disabled", "ssh.service=enabled"},
		Services: {"ssh.service"},
		Sysctls:  {"net/ipv4/ip_forward=0"},
		Packages: {"bash:amd64=5.2"},
		Users:    {"root=0"},
		Groups:   {"root=0"},
		Ports:    {"tcp 22"},
	}
	if diff := cmp.Diff(want, b.Seen); diff != "" {
		t.Error(diff)
	}
}

func TestWriteAndRead(t *testing.T) {
	e, _ := machine(t)
	path := filepath.Join(t.TempDir(), "first.json")
	if b, err := Read(path); b != nil || err != nil {
		t.Errorf("without a file: %v, %v", b, err)
	}
	want := Take(t.Context(), e, facts())
	if err := want.Write(path); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, *got); diff != "" {
		t.Error(diff)
	}
	if all := got.Compare(want); len(all) > 0 {
		t.Errorf("differs from itself: %v", all)
	}
	for content, word := range map[string]string{
		`{"format":"other","version":1}`: "no baseline", `{"format":"pipeops-baseline","version":2}`: "version 2", `{`: "EOF",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", content, err)
		}
	}
}

// TestCompare holds whose a difference is, for every kind.
func TestCompare(t *testing.T) {
	before := Baseline{Seen: map[string][]string{
		Files:    {"/etc/hosts", "/var/lib/gone"},
		Units:    {"ssh.service=enabled"},
		Services: {"ssh.service"},
		Sysctls:  {"net/ipv4/ip_forward=0", "net/ipv4/conf/eth0/forwarding=0"},
		Rules:    {"ip filter", "ip filter INPUT=1 rules aa"},
		Packages: {"bash:amd64=5.2"},
		Users:    {"root=0"},
		Ports:    {},
		Mounts:   {"/"},
		Modules:  {"ext4"},
		"future": {"unknown"},
	}}
	now := Baseline{Seen: map[string][]string{
		Files:    {"/etc/hosts", "/var/lib/rancher", "/opt/theirs", "/usr/local/bin/k3s-killall.sh"},
		Units:    {"ssh.service=disabled", "k3s.service=enabled", "nginx.service=enabled"},
		Services: {"nginx.service"},
		Sysctls:  {"net/ipv4/ip_forward=1", "net/ipv4/conf/eth0/forwarding=0", "net/ipv4/conf/veth1/forwarding=1"},
		Rules:    {"ip filter", "ip filter INPUT=2 rules bb", "ip nat KUBE-SERVICES=0 rules cc"},
		Packages: {"bash:amd64=5.3"},
		Users:    {"root=0", "me=1000"},
		Ports:    {"tcp 6443", "tcp 80"},
		Mounts:   {"/", "/mnt", "/run/k3s/x"},
		Links:    {"cni0"},
		Modules:  {"ext4", "vxlan"},
	}}
	var ours, others []string
	for _, d := range before.Compare(now) {
		if d.Ours {
			ours = append(ours, d.String())
		} else {
			others = append(others, d.String())
		}
	}
	wantOurs := []string{
		"file /usr/local/bin/k3s-killall.sh is new", "file /var/lib/rancher is new", "unit k3s.service is new", "sysctl net/ipv4/ip_forward was 0, is 1",
		"chain of the firewall ip nat KUBE-SERVICES is new", "port tcp 6443 is new", "mount /run/k3s/x is new",
	}
	wantOthers := []string{
		"file /opt/theirs is new", "file /var/lib/gone is gone", "unit nginx.service is new", "unit ssh.service was enabled, is disabled", "service ssh.service is gone",
		"chain of the firewall ip filter INPUT changed", "package bash:amd64 was 5.2, is 5.3", "user me is new", "port tcp 80 is new", "mount /mnt is new", "module of the kernel vxlan is new",
	}
	if diff := cmp.Diff(wantOurs, ours); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(wantOthers, others); diff != "" {
		t.Error(diff)
	}
}

func TestApkAndOpenRC(t *testing.T) {
	root := t.TempDir()
	for path, content := range map[string]string{
		"/lib/apk/db/installed": "C:Q1\nP:busybox\nV:1.36\n\nP:openrc\nV:0.52\n", "/etc/runlevels/default/sshd": "", "/run/openrc/started/sshd": "",
	} {
		path = filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	b := Take(t.Context(), Env{Root: root}, facts())
	for kind, want := range map[string][]string{Packages: {"busybox=1.36", "openrc=0.52"}, Units: {"sshd=in default"}, Services: {"sshd"}} {
		if !slices.Equal(b.Seen[kind], want) {
			t.Errorf("%s: %v", kind, b.Seen[kind])
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"format":"pipeops-baseline","version":1,"seen":{"file":["/etc/x=1"]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := parse(raw)
		if err != nil {
			return
		}
		for _, d := range b.Compare(b) {
			t.Errorf("differs from itself: %s", d)
		}
		for _, d := range (Baseline{Seen: map[string][]string{Files: {"/etc/x"}}}).Compare(b) {
			_ = d.String()
		}
	})
}

func FuzzParseDpkg(f *testing.F) {
	f.Add("Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseDpkg(strings.NewReader(text))
		if err == nil && len(all) > strings.Count(text, "Package: ") {
			t.Errorf("%d packages", len(all))
		}
	})
}

func FuzzParseApk(f *testing.F) {
	f.Add("P:busybox\nV:1.36\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseApk(strings.NewReader(text))
		if err == nil && len(all) > strings.Count(text, "V:") {
			t.Errorf("%d packages", len(all))
		}
	})
}

func FuzzParseAccounts(f *testing.F) {
	f.Add([]byte("root:x:0:0:root:/root:/bin/sh\n"))
	f.Add([]byte("=::"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, a := range parseAccounts(raw) {
			if strings.LastIndex(a, "=") < 1 || strings.Contains(a, ":") {
				t.Errorf("an account %q", a)
			}
		}
	})
}
