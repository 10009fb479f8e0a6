package audit

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// line is a line of a file, as it lies there.
type line struct {
	raw    []byte // without its line feed; good until the next one is read
	file   string
	number int // from 1 on
	whole  bool
}

// read calls see for each line of the files, in order, until that fails.
func read(files []string, see func(line) error) error {
	for _, path := range files {
		f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
		if err != nil {
			return fmt.Errorf("cannot read the audit log: %w", err)
		}
		err = readFrom(f, filepath.Base(path), see)
		_ = f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func readFrom(r io.Reader, file string, see func(line) error) error {
	lines := bufio.NewReaderSize(r, maxLine)
	for n := 1; ; n++ {
		raw, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(raw) == 0:
			return nil
		case errors.Is(err, io.EOF), errors.Is(err, bufio.ErrBufferFull):
			return see(line{raw: raw, file: file, number: n})
		case err != nil:
			return fmt.Errorf("cannot read the audit log: %w", err)
		}
		if err := see(line{raw: bytes.TrimSuffix(raw, []byte("\n")), file: file, number: n, whole: true}); err != nil {
			return err
		}
	}
}

// Read calls see for each record of the files, in order, until that fails. Lines that are no records are left out: [Verify] tells of them.
func Read(files []string, see func(Record) error) error {
	return read(files, func(l line) error {
		var r Record
		if !l.whole || json.Unmarshal(l.raw, &r) != nil || r.Seq == 0 {
			return nil
		}
		return see(r)
	})
}

func (l line) sum() [sha256.Size]byte { return sha256.Sum256(l.raw) }
