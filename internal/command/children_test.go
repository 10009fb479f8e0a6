package command

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestChildrenTellHowTheyEnded(t *testing.T) {
	var c Children
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	for _, tt := range []struct {
		script string
		want   Exit
	}{{"exit 7", Exit{Code: 7}}, {"kill -KILL $$", Exit{Code: -1, Signal: 9}}, {"umask; echo $A; cut -d' ' -f6 /proc/$$/stat", Exit{}}} {
		child, err := c.Start(Spec{Argv: []string{"/bin/sh", "-c", tt.script}, Env: []string{"A=b", "PATH=/bin:/usr/bin"}, Umask: 0o27, Output: out})
		if err != nil {
			t.Fatal(err)
		}
		if got := child.Wait(); got != tt.want {
			t.Errorf("%s: %v", tt.script, got)
		}
		if err := child.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("a signal to one that has ended: %v", err)
		}
		if tt.want == (Exit{}) { // a session of its own: its number is that of the process
			text, _ := os.ReadFile(out.Name())
			if string(text) != "0027\nb\n"+strconv.Itoa(child.PID)+"\n" {
				t.Errorf("it said %q", text)
			}
		}
	}
	if _, err := c.Start(Spec{Argv: []string{"/nonexistent"}}); err == nil || !strings.Contains(err.Error(), "cannot run /nonexistent") {
		t.Errorf("%v", err)
	}
}

// TestOrphansAreReapedAndChildrenAreNot makes this process take in orphans. A child that has ended is left for its own Wait.
func TestOrphansAreReapedAndChildrenAreNot(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) }()
	var c Children
	child, err := c.Start(Spec{Argv: []string{"/bin/sh", "-c", "(exit 0) & (exit 0) & exit 5"}})
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for reaped := 0; reaped < 2; reaped += c.Reap() {
		if time.Now().After(deadline) {
			t.Fatalf("%d orphans were reaped", reaped)
		}
		time.Sleep(time.Millisecond)
	}
	if got := child.Wait(); got.Code != 5 {
		t.Errorf("the child: %v", got)
	}
	found := false
	for _, pid := range searched() {
		found = found || pid == child.PID
	}
	if found {
		t.Error("it is there still")
	}
}

func TestDetached(t *testing.T) {
	file := filepath.Join(t.TempDir(), "here")
	if _, err := Detach(nil, "sh", "-c", "umask >"+file+".new; mv "+file+".new "+file); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		if text, err := os.ReadFile(file); err == nil {
			if string(text) != "0077\n" {
				t.Errorf("umask %q", text)
			}
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("it has not run")
}
