package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
)

const (
	// formatVersion is in the first line of both files. A file of a newer version is refused, not guessed at.
	formatVersion = 1
	// maxLines bounds a file, in bytes: a run writes about 10 KiB, so this is some thousand runs.
	maxLines = 64 << 20
)

type header struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
}

// lines is an append-only file of JSON lines.
type lines struct {
	file  *os.File
	size  int64        // of what is sound
	point func()       // tests: called before and after each append
	sync  func() error // tests; nil: of the file
}

// openLines opens or makes the file and calls each for every line after the header. What a crash left of a last line is
// cut off; a bad line before it is an error.
func openLines(path, format string, each func([]byte) error) (*lines, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the %s: %w", format, err)
	}
	l := &lines{file: f}
	if err := l.load(format, each); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot read the %s %s: %w", format, path, err)
	}
	if err := atomicfile.SyncDir(filepath.Dir(path)); err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

func (l *lines) load(format string, each func([]byte) error) error {
	data, err := readLines(l.file)
	if err != nil {
		return err
	}
	whole, err := parseLines(data, format, each)
	if err != nil {
		return err
	}
	if l.size = int64(whole); whole < len(data) {
		if err := l.file.Truncate(l.size); err != nil {
			return err
		}
	}
	if whole == 0 {
		return l.append(header{Format: format, Version: formatVersion}, true)
	}
	return nil
}

func readLines(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxLines+1))
	if err == nil && len(data) > maxLines {
		err = fmt.Errorf("it is larger than %d bytes", maxLines)
	}
	return data, err
}

// parseLines calls each for every line after the header, and returns how many bytes are sound.
func parseLines(data []byte, format string, each func([]byte) error) (whole int, err error) {
	for n := 1; whole < len(data); n++ {
		line, _, ended := bytes.Cut(data[whole:], []byte("\n"))
		last := whole+len(line)+1 >= len(data)
		if !ended || (last && !json.Valid(line)) {
			break
		}
		if n == 1 {
			err = checkHeader(line, format)
		} else {
			err = each(line)
		}
		if err != nil {
			return 0, fmt.Errorf("line %d: %w", n, err)
		}
		whole += len(line) + 1
	}
	return whole, nil
}

func checkHeader(line []byte, format string) error {
	var h header
	if err := json.Unmarshal(line, &h); err != nil {
		return err
	}
	if h.Format != format {
		return fmt.Errorf("it is not a %s", format)
	}
	if h.Version != formatVersion {
		return fmt.Errorf("it has version %d, this program knows version %d", h.Version, formatVersion)
	}
	return nil
}

// append writes one line, and returns when it is on the disk if it must be durable.
func (l *lines) append(v any, durable bool) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	l.crashPoint()
	n, err := l.file.WriteAt(append(line, '\n'), l.size)
	if err == nil && durable {
		sync := l.file.Sync
		if l.sync != nil {
			sync = l.sync
		}
		err = sync()
	}
	if err != nil { // a full disk, or a broken one: neither half a line nor one that the caller does not count may stay before the next
		return errors.Join(err, l.file.Truncate(l.size))
	}
	l.size += int64(n)
	l.crashPoint()
	return nil
}

func (l *lines) crashPoint() {
	if l.point != nil {
		l.point()
	}
}

func (l *lines) close() error {
	return errors.Join(l.file.Sync(), l.file.Close())
}
