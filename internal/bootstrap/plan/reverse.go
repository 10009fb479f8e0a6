package plan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Reversed is what became of a change that was to be undone.
type Reversed struct {
	Record
	Op   Op       // Undone or Left
	Left []string // paths that are still there, each with the reason: "/data/disk: a file system is mounted there"
}

// reverse undoes one change and records it. Of a tree, what keep names stays; nil keeps nothing.
func (s *Store) reverse(ctx context.Context, now func() time.Time, c Record, keep func(path string) bool) (Reversed, error) {
	if err := ctx.Err(); err != nil {
		return Reversed{}, err
	}
	op, left, err := s.reverseOne(ctx, c, keep)
	if err != nil {
		return Reversed{}, fmt.Errorf("cannot undo the change of %s: %w", c.Target, err)
	}
	done := Reversed{Record: c, Op: op, Left: left}
	if err := s.Ledger.add(Record{Time: now(), Op: op, ID: c.ID}); err != nil {
		return done, &behindError{err}
	}
	return done, nil
}

// leave records that a change stays, and why.
func (s *Store) leave(now func() time.Time, c Record, why string) (Reversed, error) {
	kept := Reversed{Record: c, Op: Left, Left: []string{c.Target + ": " + why}}
	return kept, s.Ledger.add(Record{Time: now(), Op: Left, ID: c.ID})
}

// behindError tells that a change was undone and the ledger could not be told, on a full disk say.
type behindError struct{ err error }

func (e *behindError) Error() string { return e.err.Error() }
func (e *behindError) Unwrap() error { return e.err }

func (s *Store) reverseOne(ctx context.Context, c Record, keep func(path string) bool) (Op, []string, error) {
	switch c.Kind {
	case File, Dir, Value:
		return s.reverseImage(c)
	case Tree:
		for _, file := range c.Unless {
			if _, err := os.Lstat(s.path(file)); !errors.Is(err, fs.ErrNotExist) {
				return Left, []string{c.Target + ": " + file + ", which needs it, is still there"}, nil
			}
		}
		left, err := removeTree(ctx, s.path(c.Target), *c.Before, keep)
		if len(left) > 0 {
			return Left, left, err
		}
		return Undone, nil, err
	}
	if undo, known := s.Undo[c.Kind]; known {
		left, err := undo(ctx, c)
		if len(left) > 0 {
			return Left, left, err
		}
		return Undone, nil, err
	}
	op, err := Undone, error(nil) // without either, the step's Undo has seen to it, or it went with what it was in
	if c.Reversal != nil {
		op, err = s.undo(ctx, *c.Reversal)
	}
	if op == Left {
		return op, []string{string(c.Kind) + " " + c.Target + ": somebody else needs it"}, err
	}
	return op, nil, err
}

// reverseImage restores what was at a path before, unless somebody else has changed it since.
func (s *Store) reverseImage(c Record) (Op, []string, error) {
	path := s.path(c.Target)
	present, err := look(c.Kind, path)
	switch {
	case err != nil:
		return "", nil, err
	case present.same(*c.Before):
		return Undone, nil, nil
	case !present.same(*c.After):
		return Left, []string{c.Target + ": somebody else has changed it"}, nil
	}
	err = s.restore(path, *c.Before)
	if notEmpty(err) {
		return Left, []string{c.Target + ": it holds what is not ours"}, nil
	}
	return Undone, nil, err
}
