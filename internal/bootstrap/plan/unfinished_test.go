package plan

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
)

func TestUnfinished(t *testing.T) {
	dir := t.TempDir()
	if got, err := Unfinished(dir, "install"); err != nil || len(got) != 0 {
		t.Errorf("no journal: %v, %v", got, err)
	}
	write(t, dir, `{"format":"pipeops-journal","version":1}
{"plan":"install","state":"planned","steps":["a","b","c"]}
{"plan":"install","step":"a","state":"started"}
{"plan":"install","step":"a","state":"done"}
{"plan":"install","step":"b","state":"started"}
{"plan":"install","step":"b","state":"failed"}
{"plan":"install","step":"b","state":"rolled-back"}
{"plan":"install","step":"c","state":"started"}
{"plan":"install","step":"reboot","state":"waiting-reboot"}
{"plan":"other","step":"d","state":"started"}
{"plan":"install","step":"e","sta`)
	got, err := Unfinished(dir, "install")
	if want := map[string]bool{"a": false, "b": false, "c": true, "reboot": false}; err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "lock")); err == nil {
		t.Error("the look has made a lock")
	}
}

func write(t *testing.T, dir, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "journal.jsonl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func FuzzUnfinished(f *testing.F) {
	f.Add([]byte(`{"format":"pipeops-journal","version":1}` + "\n" + `{"plan":"install","step":"a","state":"started"}` + "\n"))
	f.Add([]byte(`{"plan":"install","step":"a","state":"started"}` + "\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		write(t, dir, string(content))
		steps, err := Unfinished(dir, "install")
		if err != nil && steps != nil {
			t.Errorf("%v of a journal that cannot be read: %v", steps, err)
		}
	})
}
