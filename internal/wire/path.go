package wire

import (
	"errors"
	"net/url"
	"strings"
)

// ErrPath is returned for a path that two programs could read in two ways.
var ErrPath = errors.New("ambiguous path: encoded slashes, dot segments, empty segments, double encoding and control characters are refused")

// CleanPath decodes the escaped path of a request to the Kubernetes API, once, and refuses every path that another
// parser could read differently. Both ends decide by the result and forward the result, never what they were given.
func CleanPath(escaped string) (string, error) {
	if !strings.HasPrefix(escaped, "/") || strings.ContainsAny(escaped, "\\;?#") {
		return "", ErrPath
	}
	segments := strings.Split(escaped[1:], "/")
	for i, s := range segments {
		last := i == len(segments)-1
		plain, err := url.PathUnescape(s)
		if err != nil || !clearSegment(plain) || plain == "" && !last {
			return "", ErrPath
		}
		segments[i] = plain
	}
	return "/" + strings.Join(segments, "/"), nil
}

func clearSegment(s string) bool {
	if s == "." || s == ".." {
		return false
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c < 0x20, c == 0x7f, c == '/', c == '\\', c == '%', c == ';', c == '?', c == '#':
			return false
		}
	}
	return true
}

// DotFree reports whether an escaped path has no dot segment in any encoding. It is the rule for pages of projects,
// whose applications may give a meaning to everything else.
func DotFree(escaped string) bool {
	plain := escaped
	for range 3 { // an encoding of an encoding of an encoding is no honest path
		next, err := url.PathUnescape(plain)
		if err != nil {
			break
		}
		plain = next
	}
	for _, s := range strings.FieldsFunc(plain, func(r rune) bool { return r == '/' || r == '\\' }) {
		if s == "." || s == ".." {
			return false
		}
	}
	return !strings.ContainsAny(plain, "\x00\r\n")
}
