// Package machine tells how busy the machine is, and with what.
package machine

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine says where and beside what was measured.
type Machine struct {
	CPUs   int    `json:"cpus"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	Before string `json:"load_before"` // load average of 1, 5 and 15 minutes
	// Others is the part of all processors, 0 to 1, that went to other processes than the benchmark's while it ran, and to other
	// machines on the same hardware.
	Others float64 `json:"others"`
}

func (m Machine) String() string {
	return fmt.Sprintf("%d CPUs, Linux %s, %s; load before %s; %.0f %% of the CPUs went to others", m.CPUs, m.Kernel, m.Go, m.Before, 100*m.Others)
}

// Watch is the state of the machine at the start.
type Watch struct {
	machine Machine
	began   time.Time
	busy    time.Duration
	own     time.Duration
}

// Start begins to watch.
func Start() (w Watch, err error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return w, fmt.Errorf("cannot ask for the kernel: %w", err)
	}
	average, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return w, fmt.Errorf("cannot read the load: %w", err)
	}
	w.machine = Machine{
		CPUs: runtime.NumCPU(), Kernel: unix.ByteSliceToString(name.Release[:]), Go: runtime.Version(),
		Before: strings.Join(strings.Fields(string(average))[:3], " "),
	}
	w.began = time.Now()
	w.busy, w.own, err = spent()
	return w, err
}

// End must be called when the processes have been waited for.
func (w Watch) End() (Machine, error) {
	busy, own, err := spent()
	if err != nil {
		return Machine{}, err
	}
	others := (busy - w.busy) - (own - w.own)
	w.machine.Others = max(0, others.Seconds()/(time.Since(w.began).Seconds()*float64(w.machine.CPUs)))
	return w.machine, nil
}

// spent is the time for which the processors were busy, and how much of it was this process's and its children's.
func spent() (busy, own time.Duration, err error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, fmt.Errorf("cannot read the processors' times: %w", err)
	}
	if busy, err = parseBusy(string(stat)); err != nil {
		return 0, 0, err
	}
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var usage unix.Rusage
		if err := unix.Getrusage(who, &usage); err != nil {
			return 0, 0, fmt.Errorf("cannot ask for the processor time: %w", err)
		}
		own += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	return busy, own, nil
}

// parseBusy adds up the first line of /proc/stat without idle and iowait; time of guests is in user and nice already, proc(5).
func parseBusy(stat string) (time.Duration, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("cannot parse %q", line)
	}
	var ticks int64
	var errs error
	for _, i := range []int{1, 2, 3, 6, 7, 8} { // user nice system irq softirq steal
		n, err := strconv.ParseInt(fields[i], 10, 64)
		ticks, errs = ticks+n, errors.Join(errs, err)
	}
	return time.Duration(ticks) * tick, errs
}
