//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// stateDir is the agent's in a machine.
const stateDir = "/var/lib/pipeops-agent"

// interruptions returns what the gateway has heard of those of a cluster.
func (w *world) interruptions(ctx context.Context, cluster string) ([]bootstrap.Interruption, error) {
	db, err := store.Open(ctx, w.Gateway.Dir, nil)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	c, err := db.ClusterByName(ctx, cluster)
	if err != nil {
		return nil, err
	}
	events, err := db.Events(ctx, c.ID, "")
	if err != nil {
		return nil, err
	}
	var all []bootstrap.Interruption
	for _, e := range events {
		if e.Kind != "resumed" {
			continue
		}
		var i bootstrap.Interruption
		if err := json.Unmarshal(e.Detail, &i); err != nil {
			return nil, err
		}
		all = append(all, i)
	}
	return all, nil
}

// finished wants the machine connected, and nothing left of what was unfinished.
func finished(t *testing.T, m *lab.Machine, limit time.Duration) {
	t.Helper()
	eventually(t, limit, "the install has finished by itself", func(ctx context.Context) error {
		if _, err := os.Stat(filepath.Join(m.Root(), stateDir, bootstrap.UnfinishedFile)); err == nil {
			return errors.New("it is still unfinished")
		}
		return errors.Join(condition(ctx, m, "ClusterReachable", "True"), condition(ctx, m, "Tunnel", "True"))
	})
	if b, err := bootstrap.LookBegun(filepath.Join(m.Root(), stateDir), ""); err != nil || b != nil {
		t.Errorf("its state folder tells of %+v, %v", b, err)
	}
}

// TestResumeKilled kills an install, and then twice what goes on with it. Nobody runs anything.
func TestResumeKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.machine(t, lab.Options{})
	w.withAgent(t, m)
	token(t, w.Gateway, m)
	killIn(t, m, "k3s-images", w.install("lonely", "-o", "json"))
	first := killAt(t, m, "k3s-config", "", func(context.Context) error { return nil })
	killAt(t, m, "k3s-unit", first, func(ctx context.Context) error { // one that is killed in its first moment has told nobody
		seen, err := w.interruptions(ctx, "lonely")
		if err == nil && len(seen) == 0 {
			err = errors.New("the gateway has not heard of an interruption")
		}
		return err
	})
	finished(t, m, 3*time.Minute)
	seen, err := w.interruptions(t.Context(), "lonely")
	if err != nil || len(seen) < 2 {
		t.Fatalf("the gateway has heard of %+v, %v", seen, err)
	}
	for _, i := range seen {
		if i.Cause != bootstrap.Killed {
			t.Errorf("it has heard of %+v", i)
		}
	}
	if said := shell(t, m, "journalctl --no-pager -o cat -u pipeops-agent-resume"); !strings.Contains(said, "Going on with the install that began") || !strings.Contains(said, "Done: k3s runs here") {
		t.Errorf("its journal says:\n%s", said)
	}
	result, err := m.Exec(t.Context(), nil, w.install("lonely")...)
	if err != nil || result.Code != 0 || !strings.Contains(result.Stdout, "Nothing to change") {
		t.Errorf("another install: %v, exit code %d\n%s", err, result.Code, result.Told())
	}
}

// killAt kills what goes on by itself as soon as the journal says that the step has started and ready has no objection, and
// returns which process that was. It is not the one that was killed before.
func killAt(t *testing.T, m *lab.Machine, step, before string, ready func(context.Context) error) string {
	t.Helper()
	dir := filepath.Join(m.Root(), stateDir)
	killed := ""
	eventually(t, 2*time.Minute, "what goes on is killed in step "+step, func(ctx context.Context) error {
		j, err := plan.ReadJournal(dir)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(j.Entries(), func(e plan.Entry) bool { return e.Step == step }) {
			return errors.New("it has not come to it")
		}
		if err := ready(ctx); err != nil {
			return err
		}
		killed, err = m.Shell(ctx, `p=$(cut -d " " -f 1 `+stateDir+`/lock) && test "$p" != "`+before+`" && kill -KILL "$p" && echo "$p"`)
		return err
	})
	return killed
}

// TestResumePowerCuts cuts the power at records of one install, again and again: at each boot it goes on by itself until it has
// written one to five records that no run before had, and there it is cut. A cut of a container keeps the page cache, so that the disk is as it was
// written; what a disk may lose of it besides (torn and missing last lines) is in the tests of package plan. Every single record
// is a crash point on the fake host of internal/distro.
func TestResumePowerCuts(t *testing.T) {
	t.Parallel()
	const wantCuts = 25
	w := newWorld(t)
	packages, err := filepath.Glob(filepath.Join(rig.Dist, "*_"+rig.Arch()+".deb"))
	if err != nil || len(packages) != 1 {
		t.Fatalf("packages %v, %v", packages, err)
	}
	boot := func(name string) *lab.Machine {
		m, err := w.Lab.Up(t.Context(), name, lab.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if _, err := w.Lab.Machine(m.Name); err != nil {
				return // it is down
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := m.Down(ctx); err != nil {
				t.Error(err)
			}
		})
		if err := m.Push(t.Context(), packages[0], "/root/agent.deb"); err != nil {
			t.Fatal(err)
		}
		shell(t, m, "dpkg -i /root/agent.deb") // the unit that goes on is there from the first record on
		token(t, w.Gateway, m)
		return m
	}
	whole := boot("e2e-whole")
	result, err := whole.Exec(t.Context(), nil, w.install("whole")...)
	if err != nil || result.Code != 0 {
		t.Fatalf("install: %v, exit code %d\n%s", err, result.Code, result.Told())
	}
	files := func(m *lab.Machine, cluster string) string {
		return shell(t, m, `find /etc/rancher/k3s /etc/systemd/system /usr/local /etc/pipeops-agent /etc/sysctl.d /etc/modules-load.d \
			/var/lib/rancher/k3s/agent/images /var/lib/rancher/k3s/agent/etc/containerd/*.tmpl \( -type f -o -type l \) ! -name k3s.yaml | sort | while read -r f; do
			echo "$f $(stat -c '%a %F' "$f") $(readlink "$f" || if [ "$(stat -c %s "$f")" -gt 100000 ]; then sha256sum < "$f"; else sed 's/\b`+cluster+`\b/NAME/' "$f" | sha256sum; fi)"; done`)
	}
	wantChanges, wantFiles := changed(t, whole), files(whole, "whole")
	if err := whole.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	// k3s that was cut off in its first seconds a few times may take five minutes to hand out its own watches again, so only one
	// machine is cut behind its start, too
	total, end := 0, "install access done"
	for _, name := range []string{"cuta", "cutb", "cutc", "cutd", "cute", "cutf", "cutg", "cuth", "cuti", "cutj"} {
		if total >= wantCuts {
			break
		}
		m := boot("e2e-" + name)
		total += w.cutOften(t, m, name, end)
		end = "install k3s-containerd done"
		if got := changed(t, m); got != wantChanges {
			t.Errorf("%s: lost or repeated changes:\n%s", name, difference(wantChanges, got))
		}
		if got := files(m, name); got != wantFiles {
			t.Errorf("%s: another end state:\n%s", name, difference(wantFiles, got))
		}
		if err := m.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if total < wantCuts {
		t.Errorf("only %d cuts", total)
	}
}

// cutOften cuts the power of a machine that installs, each time as soon as there is a new record, until the last of them or
// until nothing is unfinished, and returns how often.
func (w *world) cutOften(t *testing.T, m *lab.Machine, cluster, last string) int {
	t.Helper()
	log := &records{dir: filepath.Join(m.Root(), stateDir), seen: map[string]bool{}, last: last}
	go func() { _, _ = m.ExecTo(t.Context(), nil, io.Discard, io.Discard, w.install(cluster)...) }()
	cuts, start := 0, time.Now()
	booted := make(chan error, 1)
	booted <- nil
	for ; cuts < 200; cuts++ {
		more, err := log.next(t.Context(), 1, 2*time.Minute)
		if err != nil {
			t.Fatalf("after %d cuts: %v\n%s", cuts, err, shell(t, m, "journalctl --no-pager -b -n 40 -u pipeops-agent-resume; ls -l "+stateDir))
		}
		if !more {
			break
		}
		if err := m.Cut(t.Context()); err != nil { // it may not even have booted to the end
			t.Fatal(err)
		}
		<-booted
		if err := log.read(); err != nil {
			t.Fatal(err)
		}
		go func() { booted <- m.Start(t.Context()) }()
	}
	if err := <-booted; err != nil {
		t.Fatal(err)
	}
	finished(t, m, 8*time.Minute)
	t.Logf("%d cuts at %d different records in %v", cuts, len(log.seen), time.Since(start).Round(time.Second))
	seen, err := w.interruptions(t.Context(), cluster)
	if err != nil || !slices.ContainsFunc(seen, func(i bootstrap.Interruption) bool { return i.Cause == bootstrap.Restarted }) {
		t.Errorf("the gateway has heard of %+v, %v", seen, err)
	}
	return cuts
}

// changed lists the changes in the ledger of a machine, without what differs from run to run.
func changed(t *testing.T, m *lab.Machine) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(m.Root(), stateDir, "ledger.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var changes []plan.Record
	undone := map[int]bool{}
	for line := range bytes.Lines(data) {
		var r plan.Record
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		switch r.Op {
		case plan.Change:
			changes = append(changes, r)
		case plan.Undone, plan.Left:
			undone[r.ID] = true
		}
	}
	var out []string
	for _, c := range changes {
		if !undone[c.ID] {
			out = append(out, fmt.Sprintf("%s %s %s", c.Step, c.Kind, c.Target))
		}
	}
	return strings.Join(out, "\n")
}

// records are the journal and the ledger of a machine, seen from outside.
type records struct {
	dir  string
	seen map[string]bool // the different records, of all runs
	last string          // behind this one nothing is cut
}

// next waits for n records that no run has written before; false: nothing is unfinished any more.
func (w *records) next(ctx context.Context, n int, limit time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return false, err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return false, err
	}
	if _, err := unix.InotifyAddWatch(fd, w.dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_DELETE|unix.IN_MOVED_TO); err != nil {
		return false, err
	}
	before := len(w.seen)
	events := make([]byte, 64<<10)
	for {
		if err := w.read(); err != nil {
			return false, err
		}
		if len(w.seen) >= before+n {
			return true, nil
		}
		if _, err := os.Stat(filepath.Join(w.dir, bootstrap.UnfinishedFile)); before > 0 && err != nil || w.seen[w.last] {
			return false, nil
		}
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 1000); err != nil && !errors.Is(err, unix.EINTR) {
			return false, err
		}
		_, _ = unix.Read(fd, events)
		if err := ctx.Err(); err != nil {
			return false, err
		}
	}
}

// read takes in the records that are there. Where a step is started anew, nothing new is written.
func (w *records) read() error {
	j, err := plan.ReadJournal(w.dir)
	if err != nil {
		return err
	}
	for _, e := range j.Entries() {
		w.seen[fmt.Sprintf("%s %s %s", e.Plan, e.Step, e.State)] = true
	}
	data, err := os.ReadFile(filepath.Join(w.dir, "ledger.jsonl"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for line := range bytes.Lines(data) {
		var r plan.Record
		if json.Unmarshal(line, &r) == nil && r.ID > 0 {
			w.seen[fmt.Sprintf("%s %d", r.Op, r.ID)] = true
		}
	}
	return err
}

// TestResumeOpenRC kills an install where OpenRC starts the services, and cuts the power of what goes on with it.
func TestResumeOpenRC(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.machine(t, lab.Options{OpenRC: true})
	w.withAgent(t, m)
	token(t, w.Gateway, m)
	killIn(t, m, "k3s-images", w.install("alp", "-o", "json"))
	log := &records{dir: filepath.Join(m.Root(), stateDir), seen: map[string]bool{}}
	if err := log.read(); err != nil {
		t.Fatal(err)
	}
	if more, err := log.next(t.Context(), 1, time.Minute); err != nil || !more {
		t.Fatalf("it does not go on by itself: %v\n%s", err, shell(t, m, "rc-status; cat /var/log/pipeops-agent-resume.log"))
	}
	eventually(t, time.Minute, "the gateway has heard of the kill", func(ctx context.Context) error { // it is told while the install goes on
		seen, err := w.interruptions(ctx, "alp")
		if err == nil && len(seen) == 0 {
			err = errors.New("of nothing yet")
		}
		return err
	})
	if err := m.Cut(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	finished(t, m, 3*time.Minute)
	seen, err := w.interruptions(t.Context(), "alp")
	if err != nil || len(seen) < 2 || seen[0].Cause != bootstrap.Killed || seen[len(seen)-1].Cause != bootstrap.Restarted {
		t.Errorf("the gateway has heard of %+v, %v", seen, err)
	}
}
