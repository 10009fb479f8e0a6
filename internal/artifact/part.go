package artifact

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"
	"syscall"
)

// flushEvery is after how many bytes the kernel is told to start writing, so that the sync at the end is short.
const flushEvery = 8 << 20

// part is the unfinished file with the digest of what it holds.
type part struct {
	file    *os.File
	hash    hash.Hash
	size    int64
	flushed int64
}

func openPart(path string) (*part, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	p := &part{file: file, hash: sha256.New()}
	if p.size, err = io.CopyBuffer(struct{ io.Writer }{p.hash}, file, make([]byte, 1<<20)); err != nil {
		file.Close()
		return nil, err
	}
	p.flushed = p.size
	return p, nil
}

func (p *part) restart() error {
	p.size, p.flushed = 0, 0
	p.hash.Reset()
	if err := p.file.Truncate(0); err != nil {
		return err
	}
	_, err := p.file.Seek(0, io.SeekStart)
	return err
}

type writeError struct{ err error }

func (w *writeError) Error() string { return w.err.Error() }

var errTooLong = errors.New("more bytes than the file has")

// readFrom appends what r gives, up to a size of limit bytes; report is called after each piece.
func (p *part) readFrom(r io.Reader, limit int64, report func()) error {
	buf := make([]byte, 256<<10)
	for {
		n, err := r.Read(buf)
		if p.size+int64(n) > limit {
			return errTooLong
		}
		if n > 0 {
			if _, werr := p.file.Write(buf[:n]); werr != nil {
				return &writeError{errors.Join(werr, p.cutBack())}
			}
			p.hash.Write(buf[:n])
			p.size += int64(n)
			p.flush()
			report()
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// cutBack removes what a failed write may have left, so that file and digest agree.
func (p *part) cutBack() error {
	if err := p.file.Truncate(p.size); err != nil {
		return err
	}
	_, err := p.file.Seek(p.size, io.SeekStart)
	return err
}

func (p *part) digest() string { return hex.EncodeToString(p.hash.Sum(nil)) }

func (p *part) close() { _ = p.file.Close() } // after a Sync or with an error that matters more

// flush starts the writing of what has come, without waiting for it.
func (p *part) flush() {
	if p.size-p.flushed < flushEvery {
		return
	}
	startWriting(p.file, p.flushed, p.size-p.flushed)
	p.flushed = p.size
}
