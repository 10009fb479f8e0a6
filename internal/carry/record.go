package carry

import (
	"errors"
	"io"
	"sync"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// reader reads records whose bodies have at most so many bytes.
type reader struct {
	from io.Reader
	most int
	buf  []byte
	have []byte // of buf, not yet given
}

func newReader(from io.Reader, most int) *reader {
	most = max(most, wire.MaxClose)
	return &reader{from: from, most: most, buf: make([]byte, wire.RecordHeader+most)}
}

// next returns the next record: its kind, and all of it, header and body, which is valid until the next call. io.EOF is an end
// between two records.
func (r *reader) next() (kind byte, whole []byte, err error) {
	if err := r.need(wire.RecordHeader); err != nil {
		return 0, nil, err
	}
	kind, length, err := wire.ParseHeader([wire.RecordHeader]byte(r.have))
	if err == nil && length > r.most {
		err = wire.ErrRecord
	}
	if err != nil {
		return 0, nil, err
	}
	size := wire.RecordHeader + length
	if err := r.need(size); err != nil {
		return 0, nil, noEOF(err)
	}
	whole, r.have = r.have[:size], r.have[size:]
	return kind, whole, nil
}

// need reads until n bytes are there.
func (r *reader) need(n int) error {
	if len(r.have) >= n {
		return nil
	}
	if cap(r.have) < n { // to the front, where there is room for the largest
		r.have = r.buf[:copy(r.buf, r.have)]
	}
	for len(r.have) < n {
		got, err := r.from.Read(r.have[len(r.have):cap(r.have)])
		r.have = r.have[:len(r.have)+got]
		if err != nil && len(r.have) < n {
			if len(r.have) > 0 {
				return noEOF(err)
			}
			return err
		}
	}
	return nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// writer writes records, each in one write. Nothing follows a Close.
type writer struct {
	mu     sync.Mutex
	to     io.Writer
	closed bool
}

// errSaid means that the last record was sent.
var errSaid = errors.New("the last record was sent")

func (w *writer) write(record []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errSaid
	}
	w.closed = record[0] == wire.RecordClose
	_, err := w.to.Write(record)
	return err
}
