package auditcli

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/audit"
	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// run runs the command over a log.
func run(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	var o cli.Output
	root := cli.Root("program", "", "", &o)
	root.AddCommand(New(&o, func() string { return dir }))
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs(append([]string{"audit"}, args...))
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func record(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "audit")
	l, err := audit.Open(audit.Options{Dir: dir, End: "test", Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	l.Entry(audit.Event{ID: "1", Trace: "t", User: "pipeops:alice", Cluster: "shop", Verb: "get", Resource: "secrets", Namespace: "web", Name: "key\x1b[31m"}).End(200, false)
	refused := l.Entry(audit.Event{ID: "2", User: "pipeops:bob", Verb: "delete", Resource: "pods", Namespace: "db", Name: "p"})
	refused.Refused("POLICY_FORBIDS")
	refused.End(403, false)
	exec, err := l.Start(t.Context(), audit.Event{ID: "3", User: "pipeops:bob", Verb: "create", Resource: "pods", Subresource: "exec", Namespace: "db", Name: "p", Query: "command=sh"})
	if err != nil {
		t.Fatal(err)
	}
	exec.Count(1, 2)
	exec.End(101, true)
	l.Note("something", 3, audit.Event{})
	l.Anchor("gateway", l.Head())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestShow(t *testing.T) {
	dir := record(t)
	for _, tt := range []struct {
		args  string
		lines int
		want  string
	}{
		{"", 9, "file 1 of chain"},
		{"--user alice", 1, "pipeops:alice on shop get secrets key"},
		{"--user pipeops:bob --failed", 2, "delete pods p in db -> 403 POLICY_FORBIDS"},
		{"--resource pods/exec", 2, "create pods/exec p in db?command=sh -> 101 cut cut at byte 2"},
		{"--id t", 1, "alice"},
		{"--kind note", 1, "something (3)"},
		{"--namespace db --verb delete", 1, "p in db"},
		{"--cluster shop --since 1h", 1, "alice"},
		{"--until 1h", 0, ""},
		{"--last 1", 1, "closed"},
	} {
		out, err := run(t, dir, append([]string{"show"}, strings.Fields(tt.args)...)...)
		if want := strings.ReplaceAll(tt.want, " cut cut", " cut"); err != nil || strings.Count(out, "\n") != tt.lines || !strings.Contains(out, want) || strings.Contains(out, "\x1b") {
			t.Errorf("%s: %v\n%s", tt.args, err, out)
		}
	}
	out, err := run(t, dir, "show", "--id", "2", "-o", "json")
	var r audit.Record
	if err != nil || json.Unmarshal([]byte(out), &r) != nil || r.Status != 403 || r.User != "pipeops:bob" {
		t.Errorf("got %s, %v", out, err)
	}
	if _, err := run(t, dir, "show", "--since", "yesterday"); !reason.Is(err, reason.Usage) {
		t.Errorf("got %v", err)
	}
}

func TestVerify(t *testing.T) {
	dir := record(t)
	out, err := run(t, dir, "verify")
	if err != nil || !strings.HasPrefix(out, "good: records 1 to 9 in 1 files are one chain\n") {
		t.Errorf("got %s, %v", out, err)
	}
	out, err = run(t, dir, "verify", "--anchors", dir) // its own anchor is as good as one of the other end
	if err != nil || !strings.Contains(out, "1 anchors of the other end hold") {
		t.Errorf("got %s, %v", out, err)
	}
	files, err := audit.Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files[0], bytes.Replace(raw, []byte(`"status":403`), []byte(`"status":200`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"verify"}, {"verify", files[0]}, {"verify", dir}} {
		if _, err = run(t, "/nowhere", append(args, dir)[:max(len(args), 2)]...); !reason.Is(err, reason.AuditBroken) || !strings.Contains(err.Error(), "line 4 (record 4)") {
			t.Errorf("%v: got %v", args, err)
		}
	}
	out, err = run(t, dir, "verify", "-o", "json")
	var report audit.Report
	if json.Unmarshal([]byte(out), &report) != nil || report.Bad == nil || report.Bad.Seq != 4 || reason.Exit(err) != 40 {
		t.Errorf("got %s, %v", out, err)
	}
	if _, err := run(t, filepath.Join(dir, "none"), "verify"); err == nil || errors.Is(err, os.ErrExist) {
		t.Errorf("a log that is not there: %v", err)
	}
}
