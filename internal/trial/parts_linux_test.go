package trial

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

func TestPercentile(t *testing.T) {
	of := func(n int) []time.Duration {
		var all []time.Duration
		for i := range n {
			all = append(all, time.Duration(n-i))
		}
		return all
	}
	for _, c := range []struct {
		n    int
		want time.Duration
	}{{1, 1}, {2, 2}, {100, 99}, {101, 100}, {500, 495}} {
		if got := percentile(of(c.n), 99); got != c.want {
			t.Errorf("of %d: %d, want %d", c.n, got, c.want)
		}
	}
}

func TestMeasureStopsInTime(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := measure(ctx, f); !errors.Is(err, errNotTried) || r.Value.OK {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestMeasureWithoutRoom(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	if r, err := measure(t.Context(), f); !errors.Is(err, unix.ENOSPC) || !errors.Is(err, errNotTried) || r.Value.OK {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestShelf: only what came during a trial and can come from one is put away.
func TestShelf(t *testing.T) {
	before := map[string]Module{"bridge": {1}, "ext4": {2}}
	after := map[string]Module{"bridge": {1}, "ext4": {2}, "vxlan": {0}, "udp_tunnel": {1}, "floppy": {0}}
	var s shelf
	s.add(before, after)
	s.add(before, after)
	if want := []string{"udp_tunnel", "vxlan"}; !slices.Equal(s.names, want) {
		t.Errorf("%q, want %q", s.names, want)
	}
	var none shelf
	if none.add(nil, after); len(none.names) != 0 {
		t.Errorf("%q, although nothing is known of before", none.names)
	}
	none.names = []string{"no_such_module_of_a_trial"}
	if left := none.putAway(t.Context()); left != "" {
		t.Errorf("what is not loaded is left: %s", left)
	}
}

func TestGunzip(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte("\x7fELF")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := gunzip(bytes.NewReader(packed.Bytes())); err != nil || string(got) != "\x7fELF" {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"", "\xfd7zXZ", packed.String()[:packed.Len()-3]} {
		if _, err := gunzip(bytes.NewReader([]byte(bad))); err == nil {
			t.Errorf("%q was unpacked", bad)
		}
	}
}

func TestCommentMatch(t *testing.T) {
	long := make([]byte, 300)
	for i := range long {
		long[i] = 'x'
	}
	m := commentMatch(string(long))
	if !sameKind([]expr.Any{m}, m) {
		t.Error("a match is not like itself")
	}
}

// TestInGroupWithoutCgroup: a folder that is no control group is told apart, and removed.
func TestInGroupWithoutCgroup(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "group")
	if err := inGroup(dir, nothing); err == nil || errors.Is(err, errNotUndone) {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the folder is still there")
	}
	if err := inGroup(filepath.Join(dir, "deep"), nothing); err == nil || errors.Is(err, errNotUndone) {
		t.Error(err)
	}
	err := inGroup(dir, func(dir string) error { return os.WriteFile(filepath.Join(dir, "left"), nil, 0o600) })
	if !errors.Is(err, errNotUndone) {
		t.Errorf("a group that cannot be removed: %v", err)
	}
}

func TestRewrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "setting")
	if err := rewrite(path); !errors.Is(err, errNotTried) {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := rewrite(path); err != nil {
		t.Error(err)
	}
}

func TestOneLine(t *testing.T) {
	a, b := errors.New("a"), errors.New("b")
	if got := oneLine(errors.Join(errors.Join(nil, a), b)); got == nil || got.Error() != "a; b" || !errors.Is(got, a) {
		t.Errorf("%v", got)
	}
	if oneLine(nil) != nil {
		t.Error("no error became one")
	}
}

// TestUnified uses a group of cgroup v2 wherever this machine has that hierarchy: beside v1 it has no controllers.
func TestUnified(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("control groups take root")
	}
	for _, root := range []string{cgroupRoot, filepath.Join(cgroupRoot, "unified")} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err != nil {
			continue
		}
		err := inGroup(filepath.Join(root, "pipeops-trial-test"), func(dir string) error { return useUnified(t.Context(), dir) })
		if errors.Is(err, errNotUndone) {
			t.Error(err)
		}
		t.Logf("%s: %v", root, err)
	}
}

// TestBackEnds: each way in which an iptables rule can get a comment is asked, whichever this kernel has, and leaves nothing.
func TestBackEnds(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("rules take root")
	}
	loaded := loadedModules()
	before := rules(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		var s shelf
		s.add(loaded, loadedModules())
		t.Log(s.putAway(ctx))
	})
	for name, use := range map[string]func() error{
		"nft":    func() error { return useRule(t.Context(), commentMatch("x")) },
		"legacy": legacyComment, // as long as nobody has loaded ip_tables, there is none
	} {
		if err := inNetworkNamespace(use); errors.Is(err, errNotUndone) {
			t.Error(err)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
	if after := rules(t); after != before {
		t.Errorf("rules are left: %s", after)
	}
	unknown := commentMatch("x")
	unknown.Name = "no-such-match"
	if err := inNetworkNamespace(func() error { return useRule(t.Context(), unknown) }); err == nil || errors.Is(err, errNotUndone) {
		t.Errorf("a match that no kernel has: %v", err)
	}
}

// TestNoTimeToUndo: what could not be taken away in time is in a namespace that is gone, so that nothing is left.
func TestNoTimeToUndo(t *testing.T) {
	if err := undone("cannot remove it", unix.EBUSY); !errors.Is(err, errNotUndone) || errors.Is(err, errNotTried) {
		t.Errorf("refused by the kernel: %v", err)
	}
	if err := undone("cannot remove it", os.ErrDeadlineExceeded); !errors.Is(err, errNotTried) || errors.Is(err, errNotUndone) {
		t.Errorf("too slow: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("a network namespace takes root")
	}
	err := inNetworkNamespace(func() (err error) {
		l, err := openLinks(t.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.Close()) }()
		return errors.Join(l.conn.SetDeadline(time.Unix(1, 0)), l.remove("lo"))
	})
	if !errors.Is(err, errNotTried) || errors.Is(err, errNotUndone) {
		t.Errorf("a link that takes too long: %v", err)
	}
}

func TestInTime(t *testing.T) {
	for _, c := range []struct {
		err   error
		tried bool
	}{
		{fmt.Errorf("receive: %w", unix.EOPNOTSUPP), true},
		{errors.Join(unix.EOPNOTSUPP, os.ErrDeadlineExceeded), true},
		{fmt.Errorf("receive: %w", os.ErrDeadlineExceeded), false},
	} {
		if got := inTime("cannot do it", c.err); errors.Is(got, errNotTried) == c.tried {
			t.Error(got)
		}
	}
}
