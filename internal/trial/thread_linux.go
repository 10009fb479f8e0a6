package trial

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// threadEnd is how long the kernel may take to end a thread; it takes some 50 µs.
const threadEnd = 500 * time.Millisecond

// onThrowAwayThread runs do on a thread that ends with it, and the namespaces that do made with the thread: nothing else is
// in them. It returns when the thread is gone. The first thread of a process cannot end, and its namespaces are those that
// others see as the process's: it is never used.
func onThrowAwayThread(do func() error) error {
	type outcome struct {
		tid int
		err error
	}
	result := make(chan outcome, 1)
	go func() {
		runtime.LockOSThread()
		tid := unix.Gettid()
		if tid == unix.Getpid() {
			// while we hold the first thread, the next goroutine has to get another
			result <- outcome{0, onThrowAwayThread(do)}
			runtime.UnlockOSThread()
			return
		}
		result <- outcome{tid, do()} // no unlock: the thread ends with the goroutine
	}()
	o := <-result
	if o.tid == 0 {
		return o.err
	}
	task := "/proc/self/task/" + strconv.Itoa(o.tid)
	for deadline := time.Now().Add(threadEnd); ; time.Sleep(100 * time.Microsecond) {
		switch _, err := os.Stat(task); {
		case errors.Is(err, fs.ErrNotExist):
			return o.err
		case time.Now().After(deadline):
			return errors.Join(fmt.Errorf("%w: the thread with the namespaces has not ended", errNotUndone), o.err)
		}
	}
}

// inNetworkNamespace runs do in a network namespace of its own, in which lo is up.
func inNetworkNamespace(do func() error) error {
	return onThrowAwayThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("cannot make a network namespace: %w", err)
		}
		return do()
	})
}
