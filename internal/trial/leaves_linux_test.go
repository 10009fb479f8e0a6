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

// look lists what trials touch.
func look(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	note := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for _, path := range []string{
		"/proc/self/oom_score_adj", "/proc/self/mountinfo", "/proc/sys/kernel/panic",
		"/proc/sys/vm/overcommit_memory", "/proc/sys/net/ipv4/ip_forward", "/proc/self/cgroup",
	} {
		b, err := os.ReadFile(path)
		note("%s %s %v", path, b, err)
	}
	tasks, _ := filepath.Glob("/proc/self/task/*/ns/*")
	spaces := map[string]bool{}
	for _, task := range tasks {
		space, _ := os.Readlink(task)
		spaces[space] = true
	}
	note("namespaces %v", slices.Sorted(maps.Keys(spaces)))
	modules := loadedModules()
	note("modules %v", slices.Sorted(maps.Keys(modules)))
	for _, root := range []string{"/sys/fs/cgroup", dir} {
		_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && (entry.IsDir() || root == dir) {
				note("%s", path)
			}
			return nil //nolint:nilerr // other processes' groups may go while we look
		})
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		note("link %s %v", i.Name, i.Flags)
	}
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
	before := look(t, top)
	began := time.Now()
	results, err := Run(t.Context(), Env{DataDir: filepath.Join(top, "not", "there")})
	if took := time.Since(began); took > Timeout {
		t.Errorf("took %s", took)
	}
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, look(t, top)); diff != "" {
		t.Errorf("something is left:\n%s", diff)
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
