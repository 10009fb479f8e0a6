package audit

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	defaultFileSize = 8 << 20
	defaultFiles    = 8
	// batchTime is how long a record may wait for the disk that nobody waits for.
	batchTime = time.Second
	// maxPending bounds what waits for a disk that takes nothing, in bytes: some 8000 records.
	maxPending = 4 << 20
	// patience is how long a request waits for a disk that does not answer.
	patience = 5 * time.Second
)

// ErrUnavailable means that a record cannot be kept now.
var ErrUnavailable = errors.New("the audit log takes no records")

// Options say how a log is kept.
type Options struct {
	Dir      string // made if it is not there, 0700
	End      string // whose log it is: gateway, agent
	Version  string // of the program
	Required bool   // what cannot be recorded is not done
	FileSize int64  // bytes after which another file is begun; 0 means 8 MiB
	Files    int    // how many are kept; 0 means 8
	// Changed is called when the log ceases to be kept, with why, and when it is kept again, with nil. It must not wait. nil means nobody.
	Changed func(error)
	Now     func() time.Time                    // nil means time.Now
	Create  func(path string) (Writable, error) // nil means the file system
}

// Writable is what the log needs of a file.
type Writable interface {
	WriteAt(p []byte, off int64) (int, error)
	Sync() error
	Close() error
}

// Log is an open log. Its methods may be called concurrently. A nil Log records nothing.
type Log struct {
	o    Options
	lock *os.File
	wake chan struct{} // somebody waits for the disk, or there is something to write
	stop chan struct{}
	done chan struct{}

	mu      sync.Mutex
	seq     uint64 // of the last record of the chain, which may not be written yet
	sum     [sha256.Size]byte
	own     uint64 // records that are no anchors
	chain   string
	number  int   // of the file that the next record goes to
	size    int64 // of that, with what is to be written
	pending []segment
	waiting int // bytes in pending
	waiters []waiter
	failure error // of the last attempt to write
	lost    uint64
	refused uint64
	closed  bool
	away    bool // it could not be opened yet
	counts  Counts

	lostTold, refusedTold uint64 // of lost and refused, in notes
	unsaved               bool   // something is written, and not known to be on the disk

	// of the goroutine that writes
	file    Writable
	begun   int64     // size of the file that was there when the log was opened
	offset  int64     // where the next line goes
	reached Head      // of what is written
	renamed bool      // a file was made since the folder was saved
	since   []segment // written since the file was last known to be on the disk
	again   bool      // the disk did not keep them
}

// segment are lines that go to one file.
type segment struct {
	number int // of the file; begun with this segment if fresh
	fresh  bool
	oldest int // of the files that are kept then
	data   []byte
	head   Head  // with its last line
	at     int64 // where in the file it was written
}

type waiter struct {
	seq   uint64
	sync  bool
	ready chan error
}

// Counts are what a log has done since it was opened.
type Counts struct {
	Records uint64 // taken into the chain
	Lost    uint64 // not taken, since the disk takes nothing
	Refused uint64 // requests that were not done for that
	Bytes   uint64 // written
	Syncs   uint64
	Failed  uint64 // attempts to write
}

// Open opens the log in o.Dir, or begins one, and records that. A line that was not finished is cut off and told; a chain that cannot be
// gone on with is left as it is, and another one begun beside it, which says so.
func Open(o Options) (*Log, error) {
	l := newLog(o)
	if err := l.attach(); err != nil {
		return nil, err
	}
	go l.run()
	return l, nil
}

// Keep is Open for one who goes on without a log that cannot be opened yet: it is tried again every attachEvery. Until then it takes no
// records.
func Keep(o Options) *Log {
	l := newLog(o)
	err := l.attach()
	if err == nil {
		go l.run()
		return l
	}
	l.failure, l.away = err, true
	if l.o.Changed != nil {
		l.o.Changed(err)
	}
	go l.later()
	return l
}

// attachEvery is how often a log that cannot be opened is tried again.
const attachEvery = 10 * time.Second

func (l *Log) later() {
	again := time.NewTicker(attachEvery)
	defer again.Stop()
	for {
		select {
		case <-l.stop:
			close(l.done)
			return
		case <-again.C:
		}
		if err := l.attach(); err == nil {
			l.run()
			return
		}
	}
}

func newLog(o Options) *Log {
	if o.FileSize == 0 {
		o.FileSize = defaultFileSize
	}
	if o.Files == 0 {
		o.Files = defaultFiles
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Create == nil {
		o.Create = create
	}
	return &Log{o: o, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
}

// attach finds out where the log goes on, and records that it does.
func (l *Log) attach() error {
	o := l.o
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the folder of the audit log: %w", err)
	}
	held, err := lock(o.Dir)
	if err != nil {
		return fmt.Errorf("cannot open the audit log: %w", err)
	}
	was, err := resume(o.Dir, readHead(held))
	if err != nil {
		return errors.Join(err, held.Close())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lock, l.away = held, false
	l.chain, l.seq, l.sum, l.own = was.chain, was.seq, was.sum, was.own
	l.number, l.size, l.begun = was.number, was.size, was.size
	if was.chain == "" || was.broken != "" {
		var id [16]byte
		_, _ = rand.Read(id[:]) // never fails: it ends the process instead
		l.chain, l.seq, l.own, l.sum = hex.EncodeToString(id[:]), 0, 0, [sha256.Size]byte{}
		l.begin(was.broken)
	}
	was.opened.Version, was.opened.Required = o.Version, o.Required
	l.add(Record{Kind: KindOpened, Opened: &was.opened})
	return nil
}

// create opens a file of the log for its writer only.
func create(path string) (Writable, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
}

// begin has the next record go to another file, whose first record it makes. The lock must be held, or nobody else know the log.
func (l *Log) begin(broken string) {
	l.number++
	l.size = 0
	oldest := max(1, l.number-l.o.Files+1)
	l.pending = append(l.pending, segment{number: l.number, fresh: true, oldest: oldest})
	l.put(Record{Kind: KindFile, File: &File{Chain: l.chain, Number: l.number, Oldest: oldest, End: l.o.End, Broken: broken}})
}

// add takes a record into the chain. The lock must be held.
func (l *Log) add(r Record) {
	if l.size >= l.o.FileSize {
		l.begin("")
	}
	l.put(r)
}

func (l *Log) put(r Record) {
	r.Time = l.o.Now().UTC()
	r.Seq, r.Prev = 0, ""
	body, err := json.Marshal(r)
	if err != nil { // it has nothing that could fail
		l.lost++
		return
	}
	l.seq++
	prefix := `{"seq":0,"prev":""`
	line := make([]byte, 0, len(body)+96)
	line = append(line, `{"seq":`...)
	line = strconv.AppendUint(line, l.seq, 10)
	line = append(line, `,"prev":"`...)
	line = hex.AppendEncode(line, l.sum[:])
	line = append(line, '"')
	line = append(line, body[len(prefix):]...)
	l.sum = sha256.Sum256(line)
	if r.Kind != KindAnchor {
		l.own++
	}
	line = append(line, '\n')
	if n := len(l.pending); n == 0 || l.pending[n-1].number != l.number {
		l.pending = append(l.pending, segment{number: l.number})
	}
	last := &l.pending[len(l.pending)-1]
	last.data = append(last.data, line...)
	last.head = l.head()
	l.size += int64(len(line))
	l.waiting += len(line)
	l.counts.Records++
}

func (l *Log) head() Head {
	return Head{Chain: l.chain, Seq: l.seq, Sum: hex.EncodeToString(l.sum[:]), Own: l.own}
}

// Head returns how far the chain is, as far as it is on the disk or about to be.
func (l *Log) Head() Head {
	if l == nil {
		return Head{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.away {
		return Head{}
	}
	return l.head()
}

// Counts returns what the log has done.
func (l *Log) Counts() Counts {
	if l == nil {
		return Counts{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.counts
	c.Lost, c.Refused = l.lost, l.refused
	return c
}

// Failure is why the log cannot be kept now; nil if it is.
func (l *Log) Failure() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure
}

// Required reports whether what cannot be recorded must not be done.
func (l *Log) Required() bool { return l != nil && l.o.Required }

// Note records what happened and is no request of a user.
func (l *Log) Note(note string, count uint64, e Event) {
	_ = l.record(Record{Kind: KindNote, Note: clip(note, maxText), Count: count, Event: e.bounded()})
}

// Anchor keeps the head of another chain.
func (l *Log) Anchor(of string, h Head) {
	if h.Valid() {
		_ = l.record(Record{Kind: KindAnchor, Anchor: &Anchor{Of: clip(of, maxText), Head: h}})
	}
}

// record takes a record into the chain; it is on the disk within batchTime.
func (l *Log) record(r Record) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	err := l.take(r)
	l.mu.Unlock()
	l.signal()
	return err
}

// take is add, unless there is no room. The lock must be held.
func (l *Log) take(r Record) error {
	switch {
	case l.closed:
		l.lost++
		return fmt.Errorf("%w: it is closed", ErrUnavailable)
	case l.away:
		l.lost++
		return fmt.Errorf("%w: %w", ErrUnavailable, l.failure)
	case l.waiting >= maxPending:
		l.lost++
		return fmt.Errorf("%w: %w", ErrUnavailable, l.why())
	}
	l.add(r)
	return nil
}

func (l *Log) why() error {
	if l.failure != nil {
		return l.failure
	}
	return errors.New("the disk is too slow")
}

// first takes a record into the chain and returns when it is written, or, with sync, on the disk. Where the log is required and cannot be
// kept, the record is not taken and the error says why.
func (l *Log) first(ctx context.Context, r Record, sync bool) error {
	w := waiter{sync: sync, ready: make(chan error, 1)}
	l.mu.Lock()
	err := l.failure
	if err != nil && l.o.Required { // it is tried again with what waits already
		l.refused++
		l.mu.Unlock()
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err = l.take(r); err != nil {
		l.refused++
		l.mu.Unlock()
		return err
	}
	w.seq = l.seq
	l.waiters = append(l.waiters, w)
	l.mu.Unlock()
	l.signal()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case err = <-w.ready:
	case <-ctx.Done():
		err = ctx.Err()
	case <-late.C:
		err = fmt.Errorf("the disk has not answered for %s", patience)
	}
	if err == nil {
		return nil
	}
	l.mu.Lock()
	l.refused++
	l.mu.Unlock()
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Close records the end, waits until everything is on the disk, and closes the log. The error is why something is not.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	if !l.away {
		l.add(Record{Kind: KindClosed})
	}
	l.closed = true
	l.mu.Unlock()
	close(l.stop)
	<-l.done
	if l.lock == nil {
		return nil // it has been told that nothing could be recorded
	}
	return errors.Join(l.Failure(), l.lock.Close())
}
