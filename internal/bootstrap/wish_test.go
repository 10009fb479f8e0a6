package bootstrap

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// TestRemembered: an install that was stopped goes on as it was wanted, unless somebody has written another wish since.
func TestRemembered(t *testing.T) {
	dir := t.TempDir()
	o := Options{StateDir: filepath.Join(dir, "state"), ConfigPath: filepath.Join(dir, "config.yaml")}
	if err := os.Mkdir(o.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	check := func(when, wanted, applied string) {
		t.Helper()
		w, a, err := Remembered(o.StateDir, o.ConfigPath)
		if err != nil || string(w) != wanted || string(a) != applied {
			t.Errorf("%s: wanted %q, applied %q, %v", when, w, a, err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	file := func(text string) { must(os.WriteFile(o.ConfigPath, []byte(text), 0o600)) }

	check("at first", "", "")
	must(o.want([]byte("one")))
	check("stopped before the file was written", "one", "")
	file("one")
	check("stopped after it", "", "")
	must(o.settle([]byte("one")))
	check("done", "", "one")
	must(o.want([]byte("one")))
	check("again the same", "", "one")
	must(o.want([]byte("two")))
	check("another one, stopped", "two", "one")
	file("three")
	check("edited by hand", "", "one")
	if st, err := os.Stat(wishFile(o.StateDir)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	must(os.WriteFile(wishFile(o.StateDir), []byte(`{"wanted":`), 0o600))
	if _, _, err := Remembered(o.StateDir, o.ConfigPath); err == nil {
		t.Error("a torn file gives no error")
	}
}

func FuzzRemembered(f *testing.F) {
	f.Add([]byte(`{"wanted":"gateway: a","base":"","applied":"gateway: b"}`))
	f.Add([]byte(`{"base":1}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(wishFile(dir), content, 0o600); err != nil {
			t.Fatal(err)
		}
		wanted, applied, err := Remembered(dir, filepath.Join(dir, "none"))
		if err != nil && (wanted != nil || applied != nil) {
			t.Errorf("an error, and %q, %q", wanted, applied)
		}
	})
}

// TestNoticesAreTold wants what people should know of the settings to be told before anything is looked at.
func TestNoticesAreTold(t *testing.T) {
	o := options(t, "debian12-vm")
	var said []string
	o.StateDir, o.Notices, o.Log = filepath.Join(t.TempDir(), "state"), []string{"The bundle is passed over"}, slog.New(slog.DiscardHandler)
	o.Events = func(e wire.Event) { said = append(said, e.Kind+": "+e.Message) }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Install(ctx, o); err == nil || len(said) == 0 || said[0] != "notice: The bundle is passed over" {
		t.Errorf("%v, said %q", err, said)
	}
}
