package distro

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
)

// store opens the store of the bench.
func (b *bench) store() *plan.Store {
	b.t.Helper()
	s, err := plan.Open(b.in.Dir, b.in.Root)
	if err != nil {
		b.t.Fatal(err)
	}
	s.Undo = b.in.Undo()
	return s
}

// TestK3sLeavesNothing lets a k3s write what a real one writes, and undoes the install. What was there before stays, and so
// does what its owner has put there since.
func TestK3sLeavesNothing(t *testing.T) {
	b := newBench(t)
	b.write("/etc/rancher/k3s/registries.yaml", "mirrors: {}")
	b.write("/var/lib/rancher/k3s/agent/images/mine.tar", "an image")
	b.write("/var/lib/rancher/k3s/server/manifests/mine.yaml", "kind: Namespace")
	b.write("/proc/sys/net/ipv4/ip_forward", "0\n")
	b.write("/usr/libexec/x", "")
	b.write("/var/log/x", "")
	before := b.tree()
	if _, err := b.run(nil); err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{
		"/etc/rancher/k3s/k3s.yaml": "a kubeconfig", "/etc/rancher/node/password": "secret",
		"/var/lib/rancher/k3s/server/db/state.db": "rows", "/var/lib/rancher/k3s/server/manifests/coredns.yaml": "k3s's",
		"/var/lib/rancher/k3s/agent/client-ca.crt": "a certificate", "/var/lib/rancher/k3s/agent/etc/containerd/config.toml": "toml",
		"/var/lib/rancher/k3s/storage/pvc-1/file": "a volume", "/var/lib/rancher/k3s/data/abc/bin/k3s": "elf",
		"/var/lib/kubelet/pods/1/volumes/x": "", "/var/lib/cni/networks/cbr0/10.42.0.2": "", "/var/lib/cni/results/cbr0-1-eth0": "",
		"/var/lib/cni/flannel/1": "", "/var/log/pods/a/0.log": "", "/var/log/containers/a.log": "", "/run/k3s/x": "", "/run/flannel/subnet.env": "",
		"/run/containerd/runc/k8s.io/1/state.json": "", "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/.keep": "",
		"/proc/sys/net/ipv4/ip_forward": "1\n",
	} {
		b.write(path, content)
	}
	if err := os.Remove(b.in.path("/usr/libexec/kubernetes/kubelet-plugins/volume/exec/.keep")); err != nil {
		t.Fatal(err)
	}
	store := b.store()
	defer store.Close()
	if got := Volumes(store.Ledger.Changes()); got != "/var/lib/rancher/k3s/storage" {
		t.Errorf("the volumes are in %q", got)
	}
	changes := store.Ledger.Changes()
	for i := range changes { // an uninstall that is stopped anywhere must still know what it keeps
		tree := slices.ContainsFunc(changes[:i], func(c plan.Record) bool { return c.Kind == plan.Tree && c.Target == k3sDataDir })
		if tree && Volumes(changes[:i]) == "" {
			t.Errorf("with %d changes left the volumes are forgotten before they are gone", i)
		}
	}
	all, err := (&plan.Uninstaller{Store: store}).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, r := range all {
		left = append(left, r.Left...)
	}
	if len(left) > 0 {
		t.Errorf("left %q", left)
	}
	if err := os.RemoveAll(filepath.Join(b.in.Root, "run")); err != nil { // of the test alone
		t.Fatal(err)
	}
	if got := b.tree(); got != before {
		t.Error(cmp.Diff(before, got))
	}
	if got := b.units.since(); !slices.Contains(got, "stop k3s.service") || !slices.Contains(got, "disable k3s.service") {
		t.Errorf("systemd was told %v", got)
	}
}

// TestWhatK3sMakesIsRecordedOnce wants a restart of k3s for a new setting to leave the first record in force.
func TestWhatK3sMakesIsRecordedOnce(t *testing.T) {
	b := newBench(t)
	if _, err := b.run(nil); err != nil {
		t.Fatal(err)
	}
	count := func() (n int) {
		store := b.store()
		defer store.Close()
		for _, c := range store.Ledger.Changes() {
			if c.Kind == plan.Tree || c.Kind == "k3s-files" {
				n++
			}
		}
		return n
	}
	first := count()
	b.write("/var/lib/kubelet/ours", "")
	b.in.Disable = nil
	b.must("k3s-config", "k3s-unit")
	if again := count(); first == 0 || again != first {
		t.Errorf("%d records, then %d", first, again)
	}
}
