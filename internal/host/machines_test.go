package host

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// machines returns the folders of the captured machines by name.
func machines(t testing.TB) map[string]string {
	t.Helper()
	entries, err := os.ReadDir("testdata/machines")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		if e.IsDir() {
			all[e.Name()] = filepath.Join("testdata/machines", e.Name())
		}
	}
	return all
}

func load(t testing.TB, dir string) *System {
	t.Helper()
	s, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestMachines compares the facts of every captured machine, and what people see of them, with golden files.
func TestMachines(t *testing.T) {
	for name, dir := range machines(t) {
		t.Run(name, func(t *testing.T) {
			f := Collect(t.Context(), load(t, dir))
			b, err := json.MarshalIndent(f.Report(), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata/facts", name+".json"), string(b)+"\n")
			golden(t, filepath.Join("testdata/facts", name+".txt"), f.Text())
		})
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), -update writes it:\n%s", path, diff)
	}
}

// TestOrderOfProbes: no probe depends on another.
func TestOrderOfProbes(t *testing.T) {
	for name, dir := range machines(t) {
		s := load(t, dir)
		probes := All()
		want := collect(t.Context(), s, probes)
		slices.Reverse(probes)
		if diff := cmp.Diff(want, collect(t.Context(), s, probes)); diff != "" {
			t.Errorf("%s: facts depend on the order of the probes:\n%s", name, diff)
		}
	}
}

// TestReportRoundTrip: facts that were saved can be judged again.
func TestReportRoundTrip(t *testing.T) {
	for name, dir := range machines(t) {
		want := Collect(context.Background(), load(t, dir)).Report()
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Report
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		want.Facts.Errors = nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}
