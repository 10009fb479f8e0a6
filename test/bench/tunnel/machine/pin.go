package machine

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Halves are two halves of the processors that this process may run on; ok is false where it is one.
func Halves() (lower, upper unix.CPUSet, ok bool, err error) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return lower, upper, false, fmt.Errorf("cannot ask for the processors: %w", err)
	}
	for cpu, left := 0, all.Count(); left > 0; cpu++ {
		if !all.IsSet(cpu) {
			continue
		}
		if left > all.Count()/2 {
			lower.Set(cpu)
		} else {
			upper.Set(cpu)
		}
		left--
	}
	return lower, upper, upper.Count() > 0, nil
}

// Pin lets all threads of a process run on these processors only, those that it starts later, too, until unpin gives it back those that it had. Go's
// runtime looks once a second how many it has.
func Pin(pid int, cpus unix.CPUSet) (unpin func() error, err error) {
	var had unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &had); err != nil {
		return nil, fmt.Errorf("cannot ask for the processors of %d: %w", pid, err)
	}
	return func() error { return pin(pid, had) }, pin(pid, cpus)
}

// pin looks again until it has met no new thread: one has the processors of the thread that started it, which may not have been pinned yet.
func pin(pid int, cpus unix.CPUSet) error {
	pinned := map[int]bool{}
	for more := true; more; {
		more = false
		threads, err := threadsOf(pid)
		if err != nil {
			return err
		}
		for _, id := range threads {
			if pinned[id] {
				continue
			}
			if err := unix.SchedSetaffinity(id, &cpus); err != nil && !errors.Is(err, unix.ESRCH) { // it has ended
				return fmt.Errorf("cannot pin thread %d of %d: %w", id, pid, err)
			}
			pinned[id], more = true, true
		}
	}
	return nil
}

func threadsOf(pid int) (ids []int, err error) {
	tasks, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		return nil, fmt.Errorf("cannot list the threads of %d: %w", pid, err)
	}
	for _, task := range tasks {
		id, err := strconv.Atoi(task.Name())
		if err != nil {
			return nil, fmt.Errorf("cannot parse the number of a thread: %w", err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}
