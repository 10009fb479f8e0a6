package audit

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
)

// Notes of a log about itself.
const (
	noteLost    = "records were lost: the disk took none"
	noteRefused = "requests were refused or not recorded in time: the disk took nothing"
)

// run writes what is recorded: at once where somebody waits for it, else gathered for batchTime.
func (l *Log) run() {
	defer close(l.done)
	l.settle(nil, nil)
	batch := time.NewTimer(0) // the records of Open
	defer batch.Stop()
	armed := true
	for {
		select {
		case <-l.stop:
			l.write(true)
			if l.file != nil {
				if err := l.file.Close(); err != nil {
					l.settle(fmt.Errorf("cannot close the audit file: %w", err), nil)
				}
			}
			return
		case <-batch.C:
			armed = false
			l.write(true)
		case <-l.wake:
			if l.urgent() {
				l.write(false)
			}
		}
		if !armed && l.left() {
			batch.Reset(batchTime)
			armed = true
		}
	}
}

// urgent reports whether somebody waits.
func (l *Log) urgent() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiters) > 0
}

// left reports whether there is anything that is not on the disk.
func (l *Log) left() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unsaved || len(l.pending) > 0
}

// write writes what is pending, and saves it on the disk if that is asked for, here or by who waits.
func (l *Log) write(save bool) {
	l.mu.Lock()
	segments, waiters := l.pending, l.waiters
	l.pending, l.waiters = nil, nil
	l.mu.Unlock()
	for _, w := range waiters {
		save = save || w.sync
	}
	err := l.rewrite()
	written := 0
	for written < len(segments) && err == nil {
		if err = l.writeSegment(segments[written]); err == nil {
			written++
		}
	}
	if err == nil && save && l.unsaved {
		err = l.save()
	}
	rest := segments[written:]
	l.mu.Lock()
	for _, s := range segments[:written] {
		l.waiting -= len(s.data)
		l.counts.Bytes += uint64(len(s.data))
	}
	l.pending = joined(rest, l.pending)
	l.mu.Unlock()
	l.settle(err, waiters)
}

// joined puts what could not be written before what has come since.
func joined(rest, since []segment) []segment {
	if len(rest) == 0 {
		return since
	}
	if n := len(rest) - 1; len(since) > 0 && !since[0].fresh && since[0].number == rest[n].number {
		rest[n].data = append(rest[n].data, since[0].data...)
		rest[n].head = since[0].head
		since = since[1:]
	}
	return append(rest, since...)
}

// rewrite writes again what a disk has not kept: after an fsync that failed, the kernel takes the pages for clean, and another fsync would
// find nothing to do.
func (l *Log) rewrite() error {
	if !l.again {
		return nil
	}
	for _, s := range l.since {
		if _, err := l.file.WriteAt(s.data, s.at); err != nil {
			return fmt.Errorf("cannot write the audit log again: %w", err)
		}
	}
	l.again = false
	return nil
}

// writeSegment writes at the place that follows what was written in full: what an attempt that failed has left is written over.
func (l *Log) writeSegment(s segment) error {
	if s.fresh && l.file != nil {
		if err := l.file.Sync(); err != nil {
			l.again = true
			return fmt.Errorf("cannot save the audit file: %w", err)
		}
		l.since = nil
		if err := l.file.Close(); err != nil {
			return fmt.Errorf("cannot close the audit file: %w", err)
		}
		l.file = nil
	}
	if l.file == nil {
		f, err := l.o.Create(filepath.Join(l.o.Dir, fileName(s.number)))
		if err != nil {
			return fmt.Errorf("cannot open the audit file: %w", err)
		}
		l.file = f
		if l.offset = 0; !s.fresh {
			l.offset = l.begun
		}
	}
	if _, err := l.file.WriteAt(s.data, l.offset); err != nil {
		return fmt.Errorf("cannot write the audit log: %w", err)
	}
	s.at = l.offset
	l.since = append(l.since, s)
	l.offset += int64(len(s.data))
	l.mu.Lock()
	l.unsaved, l.reached = true, s.head
	l.mu.Unlock()
	if !s.fresh {
		return nil
	}
	l.renamed = true
	if err := drop(l.o.Dir, s.oldest); err != nil { // the next file tries it again; that is no reason to record nothing
		l.mu.Lock()
		l.counts.Failed++
		l.mu.Unlock()
	}
	return nil
}

// save waits for the disk, and then notes how far the log is there.
func (l *Log) save() error {
	if err := l.file.Sync(); err != nil {
		l.again = true
		return fmt.Errorf("cannot save the audit log: %w", err)
	}
	l.since = nil
	if l.renamed {
		if err := atomicfile.SyncDir(l.o.Dir); err != nil {
			return err
		}
		l.renamed = false
	}
	if err := writeHead(l.lock, l.reached); err != nil {
		return fmt.Errorf("cannot note the head of the audit log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unsaved = false
	l.counts.Syncs++
	return nil
}

// settle tells those who wait, and everybody if the log is kept no longer, or is again. What was lost meanwhile is then recorded.
func (l *Log) settle(err error, waiters []waiter) {
	l.mu.Lock()
	changed := (err == nil) != (l.failure == nil)
	l.failure = err
	if err != nil {
		l.counts.Failed++
	}
	if err == nil && !l.closed {
		for _, gap := range []struct {
			note  string
			count *uint64
			told  *uint64
		}{
			{noteLost, &l.lost, &l.lostTold},
			{noteRefused, &l.refused, &l.refusedTold},
		} {
			if n := *gap.count - *gap.told; n > 0 {
				*gap.told = *gap.count
				l.add(Record{Kind: KindNote, Note: gap.note, Count: n})
			}
		}
	}
	l.mu.Unlock()
	for _, w := range waiters {
		w.ready <- err
	}
	if changed && l.o.Changed != nil {
		l.o.Changed(err)
	}
}
