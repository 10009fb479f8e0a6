package trial

import (
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
)

// lookAtOwn lists what trials touch and nobody else does.
func lookAtOwn(dir string) []string {
	var all []string
	note := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for _, path := range []string{"/proc/self/oom_score_adj", "/proc/self/cgroup"} {
		b, err := os.ReadFile(path)
		note("%s %s %v", path, b, err)
	}
	tasks, _ := filepath.Glob("/proc/self/task/*/ns/*")
	spaces := map[string]bool{}
	for _, task := range tasks {
		if space, err := os.Readlink(task); err == nil { // a thread may end while we look
			spaces[space] = true
		}
	}
	note("namespaces %v", slices.Sorted(maps.Keys(spaces)))
	note("modules %v", slices.Sorted(maps.Keys(loadedModules())))
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		note("%s", path)
		return err
	})
	return all
}

// lookAtShared lists what trials touch, and other processes of this machine too.
func lookAtShared(t *testing.T) []string {
	t.Helper()
	var all []string
	note := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for _, path := range []string{"/proc/sys/kernel/panic", "/proc/sys/vm/overcommit_memory", "/proc/sys/net/ipv4/ip_forward"} {
		b, err := os.ReadFile(path)
		note("%s %s %v", path, b, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		note("mount %s", line)
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			note("%s", path)
		}
		return nil //nolint:nilerr // other processes' groups may go while we look
	})
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		note("link %s %v", i.Name, i.Flags)
	}
	modules := loadedModules()
	if _, loaded := modules["nf_tables"]; os.Geteuid() == 0 && (loaded || modules == nil) { // to ask would load it
		note("nft %s", rules(t))
	}
	return all
}

// rules lists the tables, chains and rules of this network namespace.
func rules(t *testing.T) string {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	chains, err := c.ListChains()
	if err != nil {
		return err.Error()
	}
	tables, err := c.ListTables()
	if err != nil {
		return err.Error()
	}
	var s strings.Builder
	for _, table := range tables {
		fmt.Fprintln(&s, "table", table.Name, table.Family)
	}
	for _, chain := range chains {
		list, err := c.GetRules(chain.Table, chain)
		fmt.Fprintln(&s, "chain", chain.Table.Name, chain.Name, len(list), err)
	}
	return s.String()
}

// TestRunLeavesNothing runs all trials on this machine, whatever it allows, and looks at what they touch before and after.
func TestRunLeavesNothing(t *testing.T) {
	top := t.TempDir()
	own := lookAtOwn(top)
	var results Results
	for attempt := range 5 { // others may change the machine meanwhile, but hardly always
		before := lookAtShared(t)
		began := time.Now()
		var err error
		if results, err = Run(t.Context(), Env{DataDir: filepath.Join(top, "not", "there")}); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > Timeout {
			t.Errorf("took %s", took)
		}
		if diff := cmp.Diff(own, lookAtOwn(top)); diff != "" {
			t.Errorf("something is left:\n%s", diff)
		}
		after := lookAtShared(t)
		diff := cmp.Diff(before, after)
		if diff == "" {
			break
		}
		for _, line := range after {
			ours := strings.Contains(line, "pipeops-trial") || strings.HasPrefix(line, "link pipeops-")
			if ours && !slices.Contains(before, line) {
				t.Errorf("left: %s", line)
			}
		}
		if t.Logf("attempt %d", attempt); attempt == 4 {
			t.Errorf("something is left each time:\n%s", diff)
		}
	}
	for _, tr := range All() {
		r, ok := results[tr.Name]
		if !ok {
			t.Errorf("%s was not run", tr.Name)
		}
		if os.Geteuid() != 0 && r.OK.OK {
			t.Errorf("%s has an outcome without root: %+v", tr.Name, r)
		}
		if ok, known := r.OK.Get(); (!known || !ok) && r.Detail == "" {
			t.Errorf("%s gives no reason", tr.Name)
		}
		t.Logf("%s: %v %v %s", tr.Name, r.OK, r.Value, r.Detail)
	}
	if ms, ok := results[Fsync].Value.Get(); os.Geteuid() == 0 && (!ok || ms <= 0) {
		t.Errorf("no time was measured: %+v", results[Fsync])
	}
}
