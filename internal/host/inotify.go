package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
)

// Inotify is how many watches on files there may be for each user.
type Inotify struct {
	MaxInstances  Known[int64] `json:"max_instances"`
	MaxWatches    Known[int64] `json:"max_watches"`
	UsedInstances Known[int64] `json:"used_instances"` // by all processes; unknown to who may not look at them all
}

// numberInotify names the instances in use in [Snapshot.Numbers].
const numberInotify = "inotify_used"

// maxDescriptors bounds the open files that are looked at in search of instances.
const maxDescriptors = 1 << 18

func inotifyProbe() Probe {
	return Probe{Name: "inotify", Run: func(ctx context.Context, s *System) (Part, error) {
		i := Inotify{
			MaxInstances: s.number("/proc/sys/fs/inotify/max_user_instances"),
			MaxWatches:   s.number("/proc/sys/fs/inotify/max_user_watches"),
		}
		var err error
		if s.Live() {
			i.UsedInstances, err = countInotify(ctx, s)
		} else if n, ok := s.Snapshot().Numbers[numberInotify]; ok && n >= 0 && n < 1<<53 {
			i.UsedInstances = Is(int64(n))
		}
		return func(f *Facts) { f.Inotify = i }, err
	}}
}

// countInotify counts the open files of all processes that are instances. It is unknown if the time is over before, or
// if a process is not ours to look at.
func countInotify(ctx context.Context, s *System) (Known[int64], error) {
	ids, err := processIDs(s)
	if err != nil {
		return Known[int64]{}, err
	}
	used, looked := int64(0), 0
	for _, pid := range ids {
		if ctx.Err() != nil {
			return Known[int64]{}, fmt.Errorf("cannot count the inotify instances: %w", ctx.Err())
		}
		dir := "/proc/" + strconv.Itoa(pid) + "/fd"
		d, err := os.Open(dir)
		switch {
		case errors.Is(err, fs.ErrPermission): // those of root are the ones that matter
			return Known[int64]{}, nil
		case err != nil: // ended
			continue
		}
		fds, _ := d.Readdirnames(maxDescriptors)
		d.Close()
		for _, fd := range fds {
			if looked++; looked > maxDescriptors {
				return Known[int64]{}, fmt.Errorf("cannot count the inotify instances: more than %d open files", maxDescriptors)
			}
			if looked%1024 == 0 && ctx.Err() != nil {
				return Known[int64]{}, fmt.Errorf("cannot count the inotify instances: %w", ctx.Err())
			}
			if link, err := os.Readlink(dir + "/" + fd); err == nil && (link == "anon_inode:inotify" || link == "anon_inode:[inotify]") {
				used++
			}
		}
	}
	return Is(used), nil
}
