package distro

import (
	"os"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// TestDataDirIsChosen changes one thing of a machine on whose "/" there is no room, and that has another disk.
func TestDataDirIsChosen(t *testing.T) {
	const moved = "data-dir /data/pipeops-agent/k3s"
	disk := func(path string, free uint64) host.Disk {
		return host.Disk{Path: path, At: path, Statfs: host.Statfs{Type: "xfs", Free: host.Is(free), Total: host.Is(uint64(500 * gib)), ReadOnly: host.Is(false)}}
	}
	made := func(settings map[string]string) func(*captured) {
		return func(m *captured) {
			m.facts.Clusters = []host.Cluster{{Name: K3s, State: host.Running, Ours: host.Is(true), Settings: settings}}
		}
	}
	for name, c := range map[string]struct {
		change  func(*captured)
		request Request
		want    sight
		fix     string
	}{
		"another disk":       {want: sight{K3s, "", "", moved}},
		"none":               {change: func(m *captured) { m.facts.Volumes = []host.Disk{} }, want: sight{"", "HOST_DISK_LOW", "HOST_DISK_LOW", ""}},
		"none that is known": {change: func(m *captured) { m.facts.Volumes = nil }, want: sight{"", "HOST_DISK_LOW", "HOST_DISK_LOW", ""}},
		"two of them": {change: func(m *captured) { m.facts.Volumes = append(m.facts.Volumes, disk("/srv", 90*gib)) }, want: sight{"", "HOST_DISK_LOW", "HOST_DISK_LOW", ""},
			fix: "--data-dir /data/pipeops-agent/k3s or --data-dir /srv/pipeops-agent/k3s"},
		"two of them, one small":   {change: func(m *captured) { m.facts.Volumes = append(m.facts.Volumes, disk("/srv", 9*gib)) }, want: sight{K3s, "", "", moved}},
		"a stick":                  {change: func(m *captured) { m.facts.Volumes[0].Removable = host.Is(true) }, want: sight{"", "HOST_DISK_LOW", "HOST_DISK_LOW", ""}},
		"few inodes":               {change: func(m *captured) { m.facts.Volumes[0].FreeInodes = host.Is(uint64(9)) }, want: sight{"", "HOST_DISK_LOW", "HOST_DISK_LOW", ""}},
		"a path that k3s dislikes": {change: func(m *captured) { m.facts.Volumes[0].Path = `/my "data"` }, want: sight{"", "HOST_DISK_LOW", "HOST_DISK_LOW", ""}},
		"SELinux":                  {change: func(m *captured) { m.facts.LSM.SELinux = "enforcing" }, want: sight{"", "HOST_DISK_LOW", "HOST_DISK_LOW HOST_SELINUX", ""}},
		"no room for the kubelet either": {change: func(m *captured) {
			for i := range m.facts.Disk {
				m.facts.Disk[i].Total = host.Is(uint64(100 * gib))
			}
		}, want: sight{"", "HOST_DISK_LOW", "HOST_DISK_LOW", ""}},
		"no room for the agent either": {change: func(m *captured) {
			for i := range m.facts.Disk {
				m.facts.Disk[i].Total, m.facts.Disk[i].Free = host.Is(uint64(gib)), host.Is(uint64(200*mib))
			}
		}, want: sight{"", "HOST_DISK_LOW", "HOST_DISK_LOW", ""}},
		"everything in memory": {change: func(m *captured) {
			for i := range m.facts.Disk {
				m.facts.Disk[i].Type = "tmpfs"
			}
		}, want: sight{"", "HOST_DISK_TYPE HOST_DISK_LOW", "HOST_DISK_LOW", ""}},
		"read-only": {change: func(m *captured) {
			m.facts.Disk[0].Free, m.facts.Disk[0].ReadOnly = host.Is(uint64(90*gib)), host.Is(true)
		}, want: sight{K3s, "", "", moved}},
		"read-only, /usr too": {change: func(m *captured) {
			m.facts.Roots.ReadOnly = map[string]bool{host.BinaryDir: true, "/opt/bin": false, host.ClusterDir: true}
		}, want: sight{K3s, "", "", moved + ", binary-dir /opt/bin, kubelet-arg volume-plugin-dir=/var/lib/kubelet/volumeplugins"}},

		"asked for":                   {request: Request{DataDir: "/data/k3s"}, want: sight{K3s, "", "", "data-dir /data/k3s"}},
		"asked for where no room is":  {request: Request{DataDir: "/srv/k3s"}, want: sight{"", "HOST_DISK_LOW", "HOST_DISK_LOW", ""}},
		"asked for where it is small": {change: func(m *captured) { m.facts.Volumes[0].Free = host.Is(uint64(5 * gib)) }, request: Request{DataDir: "/data/k3s"}, want: sight{K3s, "", "HOST_DISK_LOW", "data-dir /data/k3s"}},
		"asked for on NFS": {change: func(m *captured) {
			m.facts.Disk = append(m.facts.Disk, host.Disk{Path: "/srv/k3s", At: "/srv", Statfs: host.Statfs{Type: "nfs4", Free: host.Is(uint64(90 * gib))}})
		}, request: Request{DataDir: "/srv/k3s"}, want: sight{"", "HOST_DISK_TYPE", "", ""}},
		"asked for where nothing can be written": {change: func(m *captured) {
			m.facts.Disk = append(m.facts.Disk, host.Disk{Path: "/srv/k3s", At: "/srv", Statfs: host.Statfs{Type: "xfs", Free: host.Is(uint64(90 * gib)), ReadOnly: host.Is(true)}})
		}, request: Request{DataDir: "/srv/k3s"}, want: sight{"", "HOST_READ_ONLY", "", ""}},
		"a neighbour's name": {request: Request{DataDir: "/data2/k3s"}, want: sight{"", "HOST_DISK_LOW", "HOST_DISK_LOW", ""}},

		"ours":                   {change: made(map[string]string{}), want: sight{K3s, "", "HOST_DISK_LOW", ""}},
		"ours, elsewhere":        {change: made(map[string]string{"data-dir": "/data/k3s"}), want: sight{K3s, "", "", "data-dir /data/k3s"}},
		"ours, another asked":    {change: made(map[string]string{"data-dir": "/data/k3s"}), request: Request{DataDir: "/srv/k3s"}, want: sight{K3s, "", "", "data-dir /data/k3s"}},
		"ours, in its own place": {change: made(map[string]string{}), request: Request{DataDir: "/data/k3s"}, want: sight{K3s, "", "HOST_DISK_LOW", "data-dir /var/lib/rancher/k3s"}},
		"ours, not configured":   {change: made(nil), request: Request{DataDir: "/data/k3s"}, want: sight{K3s, "", "", "data-dir /data/k3s"}},
	} {
		m := machine(t, "data-disk")
		m.facts.Inotify, m.facts.Keyring, m.facts.Modules = host.Inotify{}, host.Keyring{}, host.Modules{}
		if c.change != nil {
			c.change(&m)
		}
		d := Decide(m.facts, m.trials, c.request)
		if got := sightOf(d); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, c.want)
		}
		k, _ := d.Candidate(K3s)
		if c.fix != "" && (len(k.Reasons) != 1 || !strings.Contains(k.Reasons[0].Fix, c.fix)) {
			t.Errorf("%s: %+v", name, k.Reasons)
		}
	}
}

func TestCheckDataDir(t *testing.T) {
	for dir, ok := range map[string]bool{
		"": true, "/data/k3s": true, "/mnt/disk-1/a_b.c": true, "/var/lib/rancher/k3s": true,
		"/": false, "data": false, "/data/": false, "/data//x": false, "/data/../etc": false, "/data/.": false, "/a b": false, "/a\nb": false, `/a"b`: false,
		"/tmp/k3s": false, "/run/k3s": false, "/etc": false, "/" + strings.Repeat("x", maxDataDir): false,
	} {
		if err := CheckDataDir(dir); (err == nil) != ok || err != nil && !reason.Is(err, reason.Usage) {
			t.Errorf("%q: %v", dir, err)
		}
	}
}

// TestDataDir: what k3s reads from its data directory lies in the other one, and k3s waits for the disk.
func TestDataDir(t *testing.T) {
	b := newBench(t)
	b.in.Dir = b.in.path(host.StateDir)
	b.in.Remedies = []Remedy{{ID: RemedyDataDir, Values: []string{"/data/k3s"}}, {ID: RemedyOOMScore}}
	if _, err := b.run(nil); err != nil {
		t.Fatal(err)
	}
	if got := b.read("/data/k3s/agent/images/k3s-airgap-images-amd64.tar.zst"); got != "the images of v1.33.2+k3s1" {
		t.Error(got)
	}
	if got := b.read("/data/k3s" + containerdTemplate); !strings.Contains(got, `"/data/k3s/agent/etc/containerd/config-v3.toml.d/*.toml"`) {
		t.Error(got)
	}
	if got := b.read("/data/k3s" + containerdDropIn); !strings.Contains(got, "restrict_oom_score_adj = true") {
		t.Error(got)
	}
	if got := b.read(k3sUnit); !strings.Contains(got, "After=network-online.target\nRequiresMountsFor=/data/k3s\n\n[Service]\n") {
		t.Error(got)
	}
	if _, err := os.Stat(b.in.path("/var/lib/rancher")); err == nil {
		t.Error("/var/lib/rancher was made")
	}
	b.must()
	b.write("/etc/rancher/k3s/k3s.yaml", "") // as k3s does
	s, err := host.Load(b.in.Root)
	if err != nil {
		t.Fatal(err)
	}
	if made, ours := ourSettings(host.Collect(t.Context(), s)); !ours || made["data-dir"] != "/data/k3s" {
		t.Errorf("the next install finds %v, %v", made, ours)
	}
}
