package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// disk is a file on a disk that can be full, broken or silent.
type disk struct {
	*os.File
	mu   *sync.Mutex
	room *int // bytes that still go in; -1: any number
	sync *error
	kept *int64 // size of the file that is on the disk
}

func (d disk) WriteAt(p []byte, at int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if *d.room >= 0 && len(p) > *d.room {
		n, _ := d.File.WriteAt(p[:*d.room], at)
		return n, syscall.ENOSPC
	}
	return d.File.WriteAt(p, at)
}

func (d disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if *d.sync != nil { // and what was not on the disk is gone
		if info, err := d.Stat(); err == nil && info.Size() > *d.kept {
			_ = d.Truncate(*d.kept)
		}
		return *d.sync
	}
	if info, err := d.Stat(); err == nil {
		*d.kept = info.Size()
	}
	return nil
}

func TestFullDisk(t *testing.T) {
	for _, required := range []bool{false, true} {
		t.Run(fmt.Sprintf("required=%v", required), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				room, fails := -1, error(nil)
				var states []error
				l := open(t, Options{Required: required, Changed: func(err error) { states = append(states, err) }, Create: func(path string) (Writable, error) {
					f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
					return disk{f, &mu, &room, &fails, new(int64)}, err
				}})
				set := func(n int, err error) {
					mu.Lock()
					defer mu.Unlock()
					room, fails = n, err
				}
				exec := Event{ID: "exec", Subresource: "exec"}
				before, err := l.Start(t.Context(), exec)
				if err != nil {
					t.Fatal(err)
				}
				set(50, nil) // half a record
				for i := range 3 {
					e, err := l.Start(t.Context(), exec)
					if (err != nil) != required {
						t.Errorf("exec %d: %v", i, err)
					}
					if required && !errors.Is(err, ErrUnavailable) {
						t.Errorf("got %v", err)
					}
					plain := l.Entry(Event{ID: "get"})
					if err := plain.Admit(t.Context()); (err != nil) != required {
						t.Errorf("get %d: %v", i, err)
					}
					e.End(503, false)
					plain.End(200, false)
				}
				if l.Failure() == nil || len(states) != 1 || !errors.Is(states[0], syscall.ENOSPC) {
					t.Errorf("failure %v, told %v", l.Failure(), states)
				}
				set(-1, nil)
				time.Sleep(2 * batchTime)
				synctest.Wait()
				if l.Failure() != nil || len(states) != 2 || states[1] != nil {
					t.Errorf("failure %v, told %v", l.Failure(), states)
				}
				set(-1, syscall.EIO) // a disk that takes what it does not keep
				if _, err := l.Start(t.Context(), exec); (err != nil) != required {
					t.Errorf("exec: %v", err)
				}
				set(-1, nil)
				time.Sleep(2 * batchTime)
				synctest.Wait()
				before.End(101, false)
				shut(t, l)
				r := verify(t, l.o.Dir)
				good(t, r)
				if all := records(t, l.o.Dir); !slices.ContainsFunc(all, func(r Record) bool { return r.Note == noteRefused }) {
					t.Error("the gap is not told")
				}
			})
		})
	}
}

func TestWhatIsTooMuchIsLostAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		room, fails := 0, error(nil)
		l := open(t, Options{Create: func(path string) (Writable, error) {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
			return disk{f, &mu, &room, &fails, new(int64)}, err
		}})
		fill(l, 20000)
		lost := l.Counts().Lost
		if lost == 0 || l.waiting > maxPending+maxLine {
			t.Fatalf("%d lost, %d bytes wait", lost, l.waiting)
		}
		mu.Lock()
		room = -1
		mu.Unlock()
		time.Sleep(2 * batchTime)
		synctest.Wait()
		shut(t, l)
		r := verify(t, l.o.Dir)
		good(t, r)
		if r.Lost != lost || r.Records+lost != 20000+4 {
			t.Errorf("got %+v, lost %d", r, lost)
		}
	})
}

func TestCancelledStartIsNoStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		room, fails := -1, error(nil)
		l := open(t, Options{Required: true, Create: func(path string) (Writable, error) {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
			return disk{f, &mu, &room, &fails, new(int64)}, err
		}})
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.Start(ctx, Event{ID: "x"}); err != nil && !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
}
