package machine

import (
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHalves(t *testing.T) {
	lower, upper, ok, err := Halves()
	if err != nil {
		t.Fatal(err)
	}
	if sum := lower.Count() + upper.Count(); sum != runtime.NumCPU() || lower.Count() < upper.Count() || ok != (sum > 1) {
		t.Errorf("got %d and %d of %d, %t", lower.Count(), upper.Count(), runtime.NumCPU(), ok)
	}
	for cpu := range 1024 {
		if lower.IsSet(cpu) && upper.IsSet(cpu) {
			t.Errorf("%d is in both", cpu)
		}
	}
}

func TestPin(t *testing.T) {
	_, upper, ok, err := Halves()
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		t.Skip("there is one processor only")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWaits$")
	cmd.Env = append(os.Environ(), "PIN_TEST_WAITS=1")
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = input.Close(), cmd.Wait() }()
	had := processorsOf(t, cmd.Process.Pid)
	unpin, err := Pin(cmd.Process.Pid, upper)
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range processorsOf(t, cmd.Process.Pid) {
		if set != upper {
			t.Errorf("a thread may run on %v, want %v", set, upper)
		}
	}
	if err := unpin(); err != nil {
		t.Fatal(err)
	}
	for _, set := range processorsOf(t, cmd.Process.Pid) {
		if set != had[0] {
			t.Errorf("a thread may run on %v afterwards, want %v", set, had[0])
		}
	}
	if _, err := Pin(1<<22+1, upper); err == nil { // above the highest number that a process can have, proc(5)
		t.Error("a process that is not there was pinned")
	}
}

// TestWaits is the process that TestPin pins: it waits until its input is closed.
func TestWaits(t *testing.T) {
	if os.Getenv("PIN_TEST_WAITS") == "" {
		t.Skip("only in a process of TestPin's")
	}
	_, _ = os.Stdin.Read(make([]byte, 1))
}

func processorsOf(t *testing.T, pid int) (sets []unix.CPUSet) {
	t.Helper()
	threads, err := threadsOf(pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range threads {
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(id, &set); err == nil {
			sets = append(sets, set)
		}
	}
	if len(sets) == 0 {
		t.Fatal("the process has no threads")
	}
	return sets
}
