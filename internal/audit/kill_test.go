package audit

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestMarkedProcess is what TestKilled kills: it records that a command begins, says so, and then runs it for ever.
func TestMarkedProcess(t *testing.T) {
	dir := os.Getenv("AUDIT_TEST_DIR")
	if dir == "" {
		t.Skip("TestKilled runs it")
	}
	l, err := Open(Options{Dir: dir, End: "test", Required: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Start(context.Background(), Event{ID: "the exec", Verb: "create", Resource: "pods", Subresource: "exec"}); err != nil {
		t.Fatal(err)
	}
	fmt.Println("begun")
	select {}
}

func TestKilled(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMarkedProcess$", "-test.v")
	child.Env = append(os.Environ(), "AUDIT_TEST_DIR="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "begun" {
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	r := verify(t, dir)
	good(t, r)
	if r.Unended != 1 {
		t.Errorf("before the restart: %+v", r)
	}
	l := open(t, Options{Dir: dir})
	shut(t, l)
	r = verify(t, dir)
	good(t, r)
	if r.Unended != 1 || r.Killed != 1 || r.Starts != 2 {
		t.Errorf("got %+v", r)
	}
	all := records(t, dir)
	if start := all[2]; start.Kind != KindStart || start.ID != "the exec" || all[3].Kind != KindOpened || all[3].Opened.Clean {
		t.Errorf("got %+v, then %+v", start, all[3])
	}
}
