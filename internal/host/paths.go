package host

import (
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// maxLinks bounds the links that are followed one after the other, as the kernel does.
const maxLinks = 40

// sought is Exists for paths whose absence means something. A captured machine holds only what was there: of a path
// that is not below its folder it knows nothing, unless its snapshot says that it was looked for.
func (s *System) sought(path string) Known[bool] {
	there := s.Exists(path)
	switch {
	case there.Value:
		return there
	case s.Live():
		if there.OK {
			s.record.missing(path)
		}
		return there
	case slices.Contains(s.snapshot.Absent, path):
		return Is(false)
	}
	return Known[bool]{}
}

// resolve follows the links of a path, whose last parts need not be there.
func (s *System) resolve(p string) string {
	if !s.Live() {
		if to, ok := s.snapshot.Resolved[p]; ok {
			return path.Clean("/" + to)
		}
	}
	rest := strings.Split(strings.Trim(path.Clean(p), "/"), "/")
	at := "/"
	for hops := 0; len(rest) > 0; {
		next := path.Join(at, rest[0])
		rest = rest[1:]
		target, err := s.readlink(next)
		if err != nil { // no link, or not there
			at = next
			continue
		}
		if hops++; hops > maxLinks {
			return p
		}
		if !path.IsAbs(target) {
			target = path.Join(at, target)
		}
		rest = append(strings.Split(strings.Trim(path.Clean(target), "/"), "/"), rest...)
		at = "/"
	}
	if at != path.Clean(p) {
		s.record.resolves(p, at)
	}
	return at
}

func (s *System) readlink(p string) (string, error) {
	if s.Root == "" {
		return os.Readlink(p)
	}
	return within(s.Root, p, func(r *os.Root, name string) (string, error) { return r.Readlink(name) })
}

// number returns the whole number that a file of the kernel holds.
func (s *System) number(path string) Known[int64] { return parseNumber(s.line(path)) }

// size is number for what cannot be negative.
func (s *System) size(path string) Known[uint64] {
	n := s.number(path)
	if !n.OK || n.Value < 0 {
		return Known[uint64]{}
	}
	return Is(uint64(n.Value))
}

func parseNumber(text string) Known[int64] {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return Known[int64]{}
	}
	return Is(n)
}
