package trial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipeopshq/pipeops-agent/internal/host"
)

// What embedded-cluster has fio do, by etcd's advice: writes of 2300 bytes, each followed by fdatasync. It asks for a 99th
// percentile below 10 ms. 500 of them give the same verdict as its 22 MiB.
const (
	fsyncWrites = 500
	fsyncBytes  = 2300
	fsyncLimit  = 3 * time.Second
)

// fsync measures how long the file system of the data directory takes to keep a small write: k3s asks for less than
// 10 ms with SQLite and 5 ms with etcd, and SD cards were seen to take seconds (k3s issues 1850, 2853).
func fsync() Trial {
	return Trial{Name: Fsync, Title: "measure writes that must reach the disk", Limit: fsyncLimit, Run: func(ctx context.Context, e Env) (Result, error) {
		f, err := os.CreateTemp(e.nearest(), ".pipeops-trial-")
		if err != nil {
			return Result{}, fmt.Errorf("%w: %w", errNotTried, err)
		}
		// without a name nothing of it can be left, whatever happens; its blocks go with the file
		if err := os.Remove(f.Name()); err != nil {
			return Result{}, errors.Join(fmt.Errorf("%w: %w", errNotUndone, err), f.Close())
		}
		return measure(ctx, f)
	}}
}

// measure times the writes in a goroutine that closes the file. It waits a little, not for ever, for a write that hangs:
// that it took so long is the result then.
func measure(ctx context.Context, f *os.File) (Result, error) {
	took := make(chan time.Duration, fsyncWrites) // so that nobody has to take what comes too late
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- errors.Join(writes(ctx, f, took), f.Close()) }()
	var err error
	hangs := false
	select {
	case err = <-ended:
	case <-ctx.Done():
		select {
		case err = <-ended:
		case <-time.After(patience / 2):
			hangs = true
		}
	}
	if err != nil {
		return Result{}, fmt.Errorf("%w: %w", errNotTried, err)
	}
	var all []time.Duration
	for range len(took) {
		d := <-took
		began = began.Add(d)
		all = append(all, d)
	}
	if hangs {
		all = append(all, time.Since(began))
	}
	return verdict(all)
}

// writes ends without an error when the time is up.
func writes(ctx context.Context, f *os.File, took chan<- time.Duration) error {
	block := make([]byte, fsyncBytes)
	for range fsyncWrites {
		if ctx.Err() != nil {
			return nil
		}
		began := time.Now()
		if _, err := f.Write(block); err != nil {
			return err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return err
		}
		took <- time.Since(began)
	}
	return nil
}

func verdict(all []time.Duration) (Result, error) {
	if len(all) == 0 {
		return Result{}, fmt.Errorf("%w: there was no time for a write", errNotTried)
	}
	ms := float64(percentile(all, 99).Microseconds()) / 1000
	return Result{Detail: fmt.Sprintf("%.3g ms in 99 of 100 of %d writes", ms, len(all)), Value: host.Is(ms)}, nil
}

// percentile sorts the values and returns the smallest one that is not less than p of 100 of them.
func percentile(all []time.Duration, p int) time.Duration {
	slices.Sort(all)
	rank := (len(all)*p + 99) / 100
	return all[max(rank, 1)-1]
}
