package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, o Options) *Log {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "audit")
	}
	o.End = "test"
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func shut(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// fill records n requests.
func fill(l *Log, n int) {
	for i := range n {
		e := l.Entry(Event{ID: fmt.Sprint(i), User: "pipeops:ada", Verb: "get", Resource: "pods", Namespace: "shop", Name: fmt.Sprintf("web-%d", i)})
		e.Count(10, 100)
		e.End(200, false)
	}
}

func verify(t testing.TB, dir string, anchors ...string) Report {
	t.Helper()
	files, err := Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Verify(files, dir, anchors)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func records(t testing.TB, dir string) []Record {
	t.Helper()
	files, err := Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []Record
	if err := Read(files, func(r Record) error { list = append(list, r); return nil }); err != nil {
		t.Fatal(err)
	}
	return list
}

func good(t testing.TB, r Report) {
	t.Helper()
	if r.Bad != nil {
		t.Errorf("%v", r.Bad)
	}
}

func TestChainGoesOnOverRestarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	for range 3 {
		l := open(t, Options{Dir: dir})
		fill(l, 5)
		shut(t, l)
	}
	r := verify(t, dir)
	good(t, r)
	if want := uint64(1 + 3*(1+5+1)); r.Records != want || r.Starts != 3 || r.Killed != 0 || r.Last != want {
		t.Errorf("got %+v", r)
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
		if info, err := d.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v, %v", path, info.Mode(), err)
		}
		return nil
	})
}

func TestOneWriter(t *testing.T) {
	l := open(t, Options{})
	if other, err := Open(Options{Dir: l.o.Dir}); err == nil {
		_ = other.Close()
		t.Error("two logs write one folder")
	}
}

func TestRecordSaysWhatItShould(t *testing.T) {
	l := open(t, Options{})
	e := l.Entry(Event{
		ID: "id", Trace: "trace", User: "pipeops:ada", Groups: slices.Repeat([]string{strings.Repeat("g", 1000)}, 100), Agent: strings.Repeat("ä", 1000),
		Cluster: "shop", Method: "GET", Verb: "get", Resource: "secrets", Namespace: "shop", Name: "key\n\x1b", Path: strings.Repeat("/a", 1<<20),
	})
	e.Count(3, 1234)
	e.Refused("POLICY_FORBIDS")
	e.Refused("ANOTHER")
	e.End(403, true)
	e.End(200, false)
	shut(t, l)
	all := records(t, l.o.Dir)
	got := all[2]
	if got.Kind != KindRequest || got.Reason != "POLICY_FORBIDS" || got.Status != 403 || *got.Cut != 1234 || got.In != 3 || got.Out != 1234 ||
		len(got.Groups) != maxGroups || len(got.Groups[0]) > maxText || len(got.Agent) > maxText || len(got.Path) > maxPath || got.Name != "key\n\x1b" || got.Began.IsZero() {
		t.Errorf("got %+v", got)
	}
	if len(all) != 4 {
		t.Errorf("%d records: two ends of one request are one", len(all))
	}
}

func TestRotation(t *testing.T) {
	l := open(t, Options{FileSize: 2000, Files: 3})
	for range 10 {
		fill(l, 20)
		if _, err := l.Start(t.Context(), Event{ID: "x", Verb: "create", Subresource: "exec"}); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, l)
	files, _ := Files(l.o.Dir)
	total := int64(0)
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if len(files) != 3 || total > 3*(2000+1000) {
		t.Errorf("%d files of %d bytes", len(files), total)
	}
	r := verify(t, l.o.Dir)
	good(t, r)
	if r.First < 100 || r.Last < 210 {
		t.Errorf("got %+v", r)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, l.o.Dir); r.Bad == nil || r.Bad.File != filepath.Base(files[0]) {
		t.Errorf("the oldest file is gone: %+v", r.Bad)
	}
	// and it goes on as it was
	o := l.o
	l = open(t, Options{Dir: o.Dir, FileSize: 2000, Files: 3})
	fill(l, 30)
	shut(t, l)
	good(t, verify(t, o.Dir))
}

// What was changed is found, and the record named.
func TestTampering(t *testing.T) {
	source := open(t, Options{FileSize: 4000})
	fill(source, 40)
	shut(t, source)
	type file struct {
		name  string
		lines [][]byte
	}
	load := func() []file {
		files, err := Files(source.o.Dir)
		if err != nil {
			t.Fatal(err)
		}
		var all []file
		for _, f := range files {
			raw, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, file{filepath.Base(f), bytes.SplitAfter(bytes.TrimSuffix(raw, []byte("\n")), []byte("\n"))})
			last := &all[len(all)-1]
			last.lines[len(last.lines)-1] = append(bytes.Clone(last.lines[len(last.lines)-1]), '\n')
		}
		return all
	}
	untouched := load()
	seq := func(l []byte) uint64 {
		var r Record
		if err := json.Unmarshal(l, &r); err != nil {
			t.Fatal(err)
		}
		return r.Seq
	}
	swap := func(l []byte) []byte { return bytes.Replace(l, []byte("pipeops:ada"), []byte("pipeops:eve"), 1) }
	n := len(untouched)
	tests := []struct {
		name   string
		change func([]file) []file
		want   func(ChainError) bool
	}{
		{"changed", func(f []file) []file { f[1].lines[3] = swap(f[1].lines[3]); return f }, func(b ChainError) bool { return b.Seq == seq(untouched[1].lines[3]) && b.Line == 4 }},
		{"the last one changed", func(f []file) []file {
			last := f[n-1].lines
			last[len(last)-1] = bytes.Replace(last[len(last)-1], []byte("closed"), []byte("Closed"), 1)
			return f
		}, func(b ChainError) bool { return b.Seq == seq(untouched[n-1].lines[len(untouched[n-1].lines)-1]) }},
		{"removed", func(f []file) []file { f[1].lines = slices.Delete(f[1].lines, 3, 4); return f }, func(b ChainError) bool { return b.Seq == seq(untouched[1].lines[4]) && b.Line == 4 }},
		{"reordered", func(f []file) []file { l := f[1].lines; l[3], l[4] = l[4], l[3]; return f }, func(b ChainError) bool { return b.Seq == seq(untouched[1].lines[4]) }},
		{"added", func(f []file) []file { f[1].lines = slices.Insert(f[1].lines, 3, f[1].lines[3]); return f }, func(b ChainError) bool { return b.Seq == seq(untouched[1].lines[3]) && b.Line == 5 }},
		{"renumbered", func(f []file) []file {
			l := f[1].lines
			l[3] = bytes.Replace(l[4], fmt.Appendf(nil, `"seq":%d`, seq(l[4])), fmt.Appendf(nil, `"seq":%d`, seq(l[3])), 1)
			f[1].lines = slices.Delete(l, 4, 5)
			return f
		}, func(b ChainError) bool { return b.File == "audit-000002.jsonl" && b.Line <= 5 }},
		{"cut within a record", func(f []file) []file { l := f[n-1].lines; l[len(l)-1] = l[len(l)-1][:20]; return f }, func(b ChainError) bool { return b.Line == len(untouched[n-1].lines) }},
		{"cut between records", func(f []file) []file { f[n-1].lines = f[n-1].lines[:1]; return f }, func(b ChainError) bool { return b.Line == 2 && b.Seq == seq(untouched[n-1].lines[1]) }},
		{"a line feed lost", func(f []file) []file { f[1].lines[3] = bytes.TrimSuffix(f[1].lines[3], []byte("\n")); return f }, func(b ChainError) bool { return b.Line == 4 }},
		{"a file gone", func(f []file) []file { return slices.Delete(f, 1, 2) }, func(b ChainError) bool { return b.File == "audit-000003.jsonl" && b.Line == 1 }},
		{"files exchanged", func(f []file) []file { f[1].lines, f[2].lines = f[2].lines, f[1].lines; return f }, func(b ChainError) bool { return b.File == "audit-000002.jsonl" && b.Line == 1 }},
		{"the last file gone", func(f []file) []file { return f[:n-1] }, func(b ChainError) bool { return b.Seq == seq(untouched[n-1].lines[0]) }},
		{"all of them gone", func([]file) []file { return nil }, func(b ChainError) bool { return true }},
		{"zeros at the end", func(f []file) []file { f[n-1].lines = append(f[n-1].lines, make([]byte, 100)); return f }, func(b ChainError) bool { return b.Line == len(untouched[n-1].lines)+1 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			head, err := os.ReadFile(filepath.Join(source.o.Dir, headFile))
			if err != nil {
				t.Fatal(err)
			}
			write := func(name string, data []byte) {
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write(headFile, head)
			for _, f := range tt.change(load()) {
				write(f.name, bytes.Join(f.lines, nil))
			}
			r := verify(t, dir)
			if r.Bad == nil || !tt.want(*r.Bad) {
				t.Errorf("got %v", r.Bad)
			}
		})
	}
	good(t, verify(t, source.o.Dir))
}

// One who can write the files can make another chain of them; the other end has kept the heads of this one.
func TestAnchorsOfTheOtherEnd(t *testing.T) {
	ours, theirs := open(t, Options{FileSize: 2000, Files: 3}), open(t, Options{})
	for range 20 {
		fill(ours, 5)
		theirs.Anchor("shop/0123456789abcdef", ours.Head())
	}
	theirs.Anchor("shop/0123456789abcdef", Head{Chain: "x"}) // not taken
	shut(t, ours)
	shut(t, theirs)
	anchors, err := Files(theirs.o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	r := verify(t, ours.o.Dir, anchors...)
	good(t, r)
	if r.Held == 0 || r.Beyond == 0 || r.Held+r.Beyond != 20 {
		t.Errorf("got %+v", r)
	}
	good(t, verify(t, theirs.o.Dir))

	forged := open(t, Options{})
	forged.mu.Lock()
	forged.pending, forged.seq, forged.own, forged.sum, forged.number, forged.size = nil, 0, 0, [32]byte{}, 0, 0
	forged.chain = ours.chain
	forged.begin("")
	forged.mu.Unlock()
	fill(forged, 200)
	shut(t, forged)
	good(t, verify(t, forged.o.Dir))
	if r := verify(t, forged.o.Dir, anchors...); r.Bad == nil || !strings.Contains(r.Bad.Why, "the other end") {
		t.Errorf("a chain that was made anew passes: %+v", r)
	}
	short, err := Files(ours.o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := Verify(short[:1], "", anchors); err != nil || r.Bad == nil {
		t.Errorf("an end that is missing passes: %+v, %v", r, err)
	}
}

func TestTornLineAtRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l := open(t, Options{Dir: dir})
	fill(l, 3)
	shut(t, l)
	files, _ := Files(dir)
	for i, torn := range []string{`{"seq":7,"prev":"ab`, strings.Repeat("\x00", 4096), "x"} {
		f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(torn); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		if r := verify(t, dir); r.Bad == nil {
			t.Error("a torn line passes")
		}
		l = open(t, Options{Dir: dir})
		shut(t, l)
		all := records(t, dir)
		opened := all[len(all)-2]
		if opened.Kind != KindOpened || opened.Opened.Torn != len(torn) || opened.Opened.Clean {
			t.Errorf("got %+v", opened.Opened)
		}
		r := verify(t, dir)
		good(t, r)
		if r.Killed != i+1 {
			t.Errorf("got %+v", r)
		}
	}
	// a file that was being begun
	if err := os.WriteFile(filepath.Join(dir, fileName(2)), []byte(`{"seq`), 0o600); err != nil {
		t.Fatal(err)
	}
	l = open(t, Options{Dir: dir})
	shut(t, l)
	good(t, verify(t, dir))
}

func TestAnEndThatIsMissingIsToldAtRestart(t *testing.T) {
	l := open(t, Options{})
	fill(l, 10)
	shut(t, l)
	files, _ := Files(l.o.Dir)
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(raw, []byte("\n"))
	if err := os.WriteFile(files[0], bytes.Join(lines[:5], nil), 0o600); err != nil {
		t.Fatal(err)
	}
	again := open(t, Options{Dir: l.o.Dir})
	shut(t, again)
	if r := verify(t, l.o.Dir); r.Bad == nil || r.Bad.Seq != 6 {
		t.Errorf("got %+v", r)
	}
}

func TestAChainThatCannotGoOn(t *testing.T) {
	l := open(t, Options{})
	shut(t, l)
	files, _ := Files(l.o.Dir)
	if err := os.WriteFile(files[0], []byte("rubbish\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := open(t, Options{Dir: l.o.Dir})
	fill(again, 3)
	shut(t, again)
	if files, _ = Files(l.o.Dir); len(files) != 2 {
		t.Fatalf("files: %v", files)
	}
	if r, err := Verify(files[1:], "", nil); err != nil || r.Bad == nil || !strings.Contains(r.Bad.Why, fileName(1)) {
		t.Errorf("got %+v, %v", r, err)
	}
	if r := verify(t, l.o.Dir); r.Bad == nil || r.Bad.File != fileName(1) || r.Bad.Line != 1 {
		t.Errorf("got %+v", r.Bad)
	}
}

func TestConcurrentWriters(t *testing.T) {
	l := open(t, Options{FileSize: 20000, Files: 1000})
	var work sync.WaitGroup
	for w := range 16 {
		work.Go(func() {
			for i := range 50 {
				id := fmt.Sprintf("%d/%d", w, i)
				if i%10 == 0 {
					e, err := l.Start(t.Context(), Event{ID: id})
					if err != nil {
						t.Error(err)
					}
					// it is on the disk: whoever reads the files now finds it
					if files, _ := Files(l.o.Dir); !contains(t, files, id) {
						t.Errorf("the start of %s is not there", id)
					}
					e.End(101, false)
					continue
				}
				l.Entry(Event{ID: id}).End(200, false)
			}
		})
	}
	work.Wait()
	shut(t, l)
	r := verify(t, l.o.Dir)
	good(t, r)
	if ends := len(slices.DeleteFunc(records(t, l.o.Dir), func(r Record) bool { return r.Result == nil })); ends != 800 || r.Unended != 0 {
		t.Errorf("%d ends, %+v", ends, r)
	}
}

func contains(t *testing.T, files []string, id string) bool {
	t.Helper()
	found := false
	if err := Read(files, func(r Record) error {
		found = found || r.Kind == KindStart && r.ID == id
		return nil
	}); err != nil {
		t.Error(err)
	}
	return found
}

func TestNilLogRecordsNothing(t *testing.T) {
	var l *Log
	e, err := l.Start(t.Context(), Event{})
	if err != nil {
		t.Error(err)
	}
	e.Count(1, 1)
	e.End(200, false)
	l.Note("x", 0, Event{})
	l.Anchor("x", l.Head())
	if l.Close() != nil || l.Failure() != nil || l.Required() || l.Counts() != (Counts{}) {
		t.Error("it does something")
	}
	var none *Entry
	none.Refused("x")
	none.Change(func(*Event) { t.Error("there is nothing to change") })
	none.End(200, false)
	if err := none.Admit(t.Context()); err != nil {
		t.Error(err)
	}
}
