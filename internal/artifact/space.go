package artifact

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// reserve is what stays free beside a download, in bytes: journal, ledger and their blocks.
const reserve = 16 << 20

// checkSpace compares what the download still takes with what is free, also where it will be placed.
func (f *Fetcher) checkSpace(d Download, missing, total int64) error {
	free, device, err := f.free(d.Dir)
	if err != nil {
		return fmt.Errorf("cannot ask for the free space of %s: %w", d.Dir, err)
	}
	if free < missing+reserve {
		return short(d.Dir, missing, free)
	}
	if d.Dest == "" {
		return nil
	}
	free, other, err := f.free(d.Dest)
	if err != nil {
		return fmt.Errorf("cannot ask for the free space of %s: %w", d.Dest, err)
	}
	if other != device && free < total+reserve {
		return short(d.Dest, total, free)
	}
	return nil
}

// Fits compares what several downloads that run at the same time take together with what is free: [Fetcher.Fetch] looks at its
// own only. The error is a [reason.DownloadNoSpace].
func (f *Fetcher) Fits(all ...Download) error {
	type disk struct {
		dir        string // the first that is on it
		need, free int64
	}
	var disks []uint64
	found := map[uint64]*disk{}
	add := func(dir string, bytes func(device uint64) int64) (uint64, error) {
		free, device, err := f.free(dir)
		if err != nil {
			return 0, fmt.Errorf("cannot ask for the free space of %s: %w", dir, err)
		}
		if found[device] == nil {
			disks, found[device] = append(disks, device), &disk{dir: dir, free: free}
		}
		found[device].need += bytes(device)
		return device, nil
	}
	for _, d := range all {
		device, err := add(d.Dir, func(uint64) int64 { return d.missing() })
		if err == nil && d.Dest != "" {
			_, err = add(d.Dest, func(other uint64) int64 {
				if other == device { // it is renamed
					return 0
				}
				return d.Bytes
			})
		}
		if err != nil {
			return err
		}
	}
	for _, device := range disks {
		if d := found[device]; d.need > 0 && d.free < d.need+reserve {
			return short(d.dir, d.need, d.free)
		}
	}
	return nil
}

// missing is how many bytes of the file have not come yet.
func (d Download) missing() int64 {
	if _, err := os.Stat(d.Path()); err == nil {
		return 0
	}
	if st, err := os.Stat(d.part()); err == nil && st.Size() <= d.Bytes {
		return d.Bytes - st.Size()
	}
	return d.Bytes
}

func short(dir string, need, free int64) error {
	return reason.Newf(reason.DownloadNoSpace, "the file system of %s has %d MB free, %d MB are needed", dir, free/1e6, (need+reserve)/1e6+1)
}

func (f *Fetcher) free(dir string) (int64, uint64, error) {
	for { // the folder itself may not be there yet
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	if f.Free != nil {
		return f.Free(dir)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, 0, err
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, 0, err
	}
	return int64(min(fs.Bavail, 1<<40)) * int64(fs.Bsize), uint64(st.Dev), nil
}

// noSpace gives a full disk its code.
func noSpace(dir string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return reason.New(reason.DownloadNoSpace, "writing in "+dir, err)
	}
	return fmt.Errorf("cannot write in %s: %w", dir, err)
}

// rangeStart returns the first byte of "bytes 5-9/10", -1 if there is none.
func rangeStart(header string) int64 {
	spec, ok := strings.CutPrefix(header, "bytes ")
	first, _, dash := strings.Cut(spec, "-")
	n, err := strconv.ParseInt(first, 10, 64)
	if !ok || !dash || err != nil {
		return -1
	}
	return n
}

// rangeTotal returns the length of "bytes */10" or "bytes 5-9/10", -1 if there is none.
func rangeTotal(header string) int64 {
	_, total, _ := strings.Cut(header, "/")
	n, err := strconv.ParseInt(total, 10, 64)
	if err != nil {
		return -1
	}
	return n
}
