package host

import "testing"

// TestSharedRootIsRemembered: that "/" is shared only since we make it so is seen by what an install has written.
func TestSharedRootIsRemembered(t *testing.T) {
	for _, c := range []struct {
		path, content, want string
	}{
		{"etc/systemd/system/k3s.service.d/50-pipeops-shared-root.conf", "[Service]\n", "yes"},
		{"etc/init.d/k3s", "#!/sbin/openrc-run\nshared_root=yes\nmount --make-rshared /\n", "yes"},
		{"etc/init.d/k3s", "#!/sbin/openrc-run\nshared_root=no\nmount --make-rshared /\n", ""},
	} {
		dir := t.TempDir()
		write(t, dir, "etc/rancher/k3s/config.yaml", "node-name: a\n")
		write(t, dir, c.path, c.content)
		got := readK3sSettings(load(t, dir))
		if got[SharedRoot] != c.want || got["node-name"] != "a" {
			t.Errorf("%s: %v", c.path, got)
		}
	}
}
