package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
)

const (
	// maxLine bounds a line, in bytes: a record with everything at its bound, every byte of it escaped, has less.
	maxLine = 256 << 10
	// headFile has the head of the chain as it is on the disk, so that an end that is missing is noticed. It is also the lock.
	headFile = "head.json"
	// headSize is that of the file, always, so that one write replaces it: less than a sector of a disk.
	headSize = 256
)

func fileName(number int) string { return fmt.Sprintf("audit-%06d.jsonl", number) }

// number returns the number in the name of a file.
func number(name string) (int, bool) {
	digits, ok := strings.CutPrefix(filepath.Base(name), "audit-")
	digits, ok2 := strings.CutSuffix(digits, ".jsonl")
	n, err := strconv.Atoi(digits)
	return n, ok && ok2 && err == nil && n > 0 && filepath.Base(name) == fileName(n)
}

// Files returns the files of the log in a folder, the oldest first.
func Files(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // in the order of their names, and so of their numbers
	if err != nil {
		return nil, fmt.Errorf("cannot list the audit log: %w", err)
	}
	var list []string
	for _, e := range entries {
		if _, ok := number(e.Name()); ok && e.Type().IsRegular() {
			list = append(list, filepath.Join(dir, e.Name()))
		}
	}
	return list, nil
}

// readHead returns the head that was on the disk; the zero value if there is none, or it cannot be read.
func readHead(r io.ReaderAt) Head {
	raw := make([]byte, headSize)
	n, err := r.ReadAt(raw, 0)
	var h Head
	if err != nil && !errors.Is(err, io.EOF) || json.Unmarshal(bytes.TrimSpace(raw[:n]), &h) != nil || !h.Valid() {
		return Head{}
	}
	return h
}

func writeHead(w io.WriterAt, h Head) error {
	raw, err := json.Marshal(h)
	if err != nil {
		return err
	}
	line := bytes.Repeat([]byte(" "), headSize)
	copy(line, raw)
	line[headSize-1] = '\n'
	_, err = w.WriteAt(line, 0)
	return err
}

// lock opens the head file for one writer.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, headFile), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another process writes it: %w", err), f.Close())
	}
	return f, nil
}

// state is where a log goes on.
type state struct {
	chain  string
	seq    uint64 // of the last record
	sum    [sha256.Size]byte
	own    uint64
	number int   // of the last file; 0: there is none
	size   int64 // of that, without what is torn
	opened Opened
	broken string // why the chain cannot go on
}

// resume finds out where the log in dir goes on. It cuts off a line that was not finished, and changes nothing else.
func resume(dir string, head Head) (state, error) {
	var s state
	files, err := Files(dir)
	if err != nil {
		return s, err
	}
	s.opened.Clean = len(files) == 0
	torn := sha256.New()
	for i := len(files) - 1; i >= 0; i-- {
		number, _ := number(files[i])
		s.number = max(s.number, number)
		last, first, rest, size, err := tail(files[i])
		if err != nil {
			return s, err
		}
		_, _ = torn.Write(rest)
		s.opened.Torn += len(rest)
		if last == nil { // no line of it was finished: it was being begun
			if err := atomicfile.Remove(files[i]); err != nil {
				return s, err
			}
			s.number = number - 1
			continue
		}
		if len(rest) > 0 {
			if err := os.Truncate(files[i], size); err != nil {
				return s, fmt.Errorf("cannot cut off what is torn: %w", err)
			}
		}
		s.size = size
		var record, begin Record
		if json.Unmarshal(last, &record) != nil || record.Seq == 0 || json.Unmarshal(first, &begin) != nil || begin.File == nil || !validHex(begin.File.Chain, 32) {
			s.broken = filepath.Base(files[i]) + " has lines that are no records"
			return s, nil
		}
		s.chain, s.seq, s.sum = begin.File.Chain, record.Seq, sha256.Sum256(last)
		s.opened.Clean = record.Kind == KindClosed && s.opened.Torn == 0
		break
	}
	if s.opened.Torn > 0 {
		s.opened.TornSum = hex.EncodeToString(torn.Sum(nil))
	}
	switch {
	case head.Chain == "":
	case s.chain == "" && s.broken == "":
		s.broken, s.opened.Missing, s.opened.Clean = "all its files are gone", head.Seq, false
	case head.Chain == s.chain && head.Seq > s.seq:
		s.opened.Missing = head.Seq - s.seq
	}
	s.own = s.seq
	if head.Chain == s.chain && head.Seq <= s.seq {
		s.own = head.Own + s.seq - head.Seq // at most: some may be anchors, and one anchor too many does no harm
	}
	return s, nil
}

// tail returns the first and the last line of a file, what comes after the last line feed, and the size without it.
func tail(path string) (last, first, rest []byte, size int64, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, nil, nil, 0, fmt.Errorf("cannot read the audit log: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, nil, 0, fmt.Errorf("cannot read the audit log: %w", err)
	}
	from := max(0, info.Size()-2*maxLine)
	end, err := io.ReadAll(io.NewSectionReader(f, from, info.Size()-from))
	if err != nil {
		return nil, nil, nil, 0, fmt.Errorf("cannot read the audit log: %w", err)
	}
	n := bytes.LastIndexByte(end, '\n')
	rest = end[n+1:]
	if n < 0 {
		return nil, nil, rest, 0, nil
	}
	last = end[bytes.LastIndexByte(end[:n], '\n')+1 : n]
	begin, err := io.ReadAll(io.NewSectionReader(f, 0, min(info.Size(), maxLine)))
	if err != nil {
		return nil, nil, nil, 0, fmt.Errorf("cannot read the audit log: %w", err)
	}
	first, _, _ = bytes.Cut(begin, []byte("\n"))
	return last, first, rest, info.Size() - int64(len(rest)), nil
}

// drop removes the files that are older than those to be kept.
func drop(dir string, oldest int) error {
	files, err := Files(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if n, _ := number(f); n < oldest {
			if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("cannot remove an old audit file: %w", err)
			}
		}
	}
	return nil
}
