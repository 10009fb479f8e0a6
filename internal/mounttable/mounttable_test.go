package mounttable

import "testing"

func TestParse(t *testing.T) {
	table := `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 0:26 / /srv/my\040disk rw shared:2 master:3 - nfs4 server:/export rw,vers=4.2
31 22 254:0 /x /srv/my\040disk/a\134b ro,noexec - ext4 /dev/root rw
`
	all, unknown := Parse([]byte(table))
	if unknown != 0 || len(all) != 3 || !all[0].Shared || all[0].ReadOnly || !all[2].ReadOnly || !all[2].NoExec || all[2].Root != "/x" {
		t.Fatalf("%d unknown, %+v", unknown, all)
	}
	for path, want := range map[string][2]string{
		"/var/lib":               {"/", "ext4"},
		"/srv/my disk":           {"/srv/my disk", "nfs4"},
		"/srv/my disk2":          {"/", "ext4"},
		"/srv/my disk/k3s/..x":   {"/srv/my disk", "nfs4"},
		`/srv/my disk/a\b/inner`: {`/srv/my disk/a\b`, "ext4"},
	} {
		if got, ok := On(all, path); !ok || got.Point != want[0] || got.Type != want[1] {
			t.Errorf("%s lies on %+v", path, got)
		}
	}
	for _, bad := range []string{"nonsense\n", "22 1 254:0 / / rw - \n", "22 1 254:0 / /\n"} {
		if all, unknown := Parse([]byte(bad)); len(all) != 0 || unknown != 1 {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestOverNetwork(t *testing.T) {
	for fs, want := range map[string]bool{"nfs4": true, "ceph": true, "9p": true, "fuse.sshfs": true, "fuse": true, "ext4": false, "fuse.fuse-overlayfs": false, "overlay": false} {
		if OverNetwork(fs) != want {
			t.Errorf("OverNetwork(%s) = %v", fs, !want)
		}
	}
}

func TestReadKnowsTheRoot(t *testing.T) {
	all, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	if _, found := On(all, "/"); len(all) > 0 && !found { // other systems than Linux have no table
		t.Errorf("nothing is mounted on /: %+v", all)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("30 22 0:26 / /srv/my\\040disk rw shared:2 - nfs4 server:/export rw\n"))
	f.Add([]byte("30 22 0:26 / /\\4 rw - x y\n"))
	f.Fuzz(func(t *testing.T, table []byte) {
		all, _ := Parse(table)
		for _, m := range all {
			if m.Point == "" || m.Type == "" {
				t.Errorf("%q has an empty field", table)
			}
		}
	})
}
