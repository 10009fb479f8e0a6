package host

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/golden"
)

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
			golden.Check(t, filepath.Join("testdata/facts", name+".json"), string(b)+"\n")
			golden.Check(t, filepath.Join("testdata/facts", name+".txt"), f.Text())
		})
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
