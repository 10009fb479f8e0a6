package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// digests lists all below a folder with modes, times and contents.
func digests(t *testing.T, dir string) string {
	t.Helper()
	var out bytes.Buffer
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		sum := ""
		if st.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum = fmt.Sprintf("%x", sha256.Sum256(content))
		}
		fmt.Fprintln(&out, path, st.Mode(), st.ModTime().UnixNano(), sum)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestDryRunChangesNothing compares the whole of a machine in a folder, and of the agent's own folders, before and after: on one
// that has nothing of ours, on one with an install that has settings, and on this machine.
func TestDryRunChangesNothing(t *testing.T) {
	dir := t.TempDir()
	machine := filepath.Join(dir, "machine")
	if err := os.CopyFS(machine, os.DirFS("../../internal/host/testdata/machines/debian12-vm")); err != nil {
		t.Fatal(err)
	}
	dry := func(args ...string) (string, int) {
		t.Helper()
		before := digests(t, dir)
		g := &globals{}
		root := newRoot(g)
		var stdout, stderr bytes.Buffer
		root.SetOut(&stdout)
		root.SetErr(&stderr)
		root.SetArgs(append([]string{"install", "--dry-run", "--config", filepath.Join(dir, "etc", "config.yaml"), "--state-dir", filepath.Join(dir, "state"), "--cluster", "shop"}, args...))
		err := root.ExecuteContext(t.Context())
		if after := digests(t, dir); after != before {
			t.Errorf("%q has changed files:\n%s", args, cmp.Diff(before, after))
		}
		return stdout.String(), reason.Exit(err)
	}
	if out, code := dry("--root", machine); code != 0 {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	file, _ := installed(t, dir, "--gateway", "gw:8443", "--cluster", "shop")
	if err := os.Rename(filepath.Join(dir, "config.yaml"), filepath.Join(dir, "etc", "config.yaml")); err != nil {
		t.Fatal(err)
	}
	remember(t, dir, file)
	out, code := dry("--root", machine, "--tls-san", "+api.example.com", "-o", "json")
	var plan struct {
		DryRun   bool `json:"dry_run"`
		Settings []struct{ Name, Restarts string }
		Steps    []struct{ ID, State string }
	}
	if err := json.Unmarshal([]byte(out), &plan); err != nil || code != 0 || !plan.DryRun || len(plan.Steps) < 10 || plan.Steps[0].State != "unknown" ||
		len(plan.Settings) != 1 || plan.Settings[0].Name != "tls-san" || plan.Settings[0].Restarts != "k3s" {
		t.Errorf("%v, exit code %d: %+v", err, code, plan)
	}
	if out, code := dry(); code == reason.ExitInternal || code == reason.ExitUsage { // this machine may be any
		t.Errorf("exit code %d\n%s", code, out)
	}
}
