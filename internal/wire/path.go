package wire

import (
	"errors"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	// ErrPath is returned for a path that two programs could read in two ways.
	ErrPath = errors.New("ambiguous path: encoded slashes, dot segments, empty segments, double encoding, control characters and what is no UTF-8 are refused")
	// ErrQuery is returned for a query that two programs could read in two ways.
	ErrQuery = errors.New("ambiguous query: semicolons, and percent signs that encode nothing, are refused")
)

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
	if s == "." || s == ".." || !utf8.ValidString(s) { // an overlong encoding of a dot or a slash is no UTF-8
		return false
	}
	return !strings.ContainsFunc(s, func(c rune) bool { return unicode.IsControl(c) || strings.ContainsRune(`/\%;?#`, c) })
}

// CleanQuery reads the query of a request to the Kubernetes API, and refuses one that another parser could read differently: API servers
// before 1.22 part by semicolons, too, and what does not parse is left out by one program and passed on by the next. So who decides by the
// values may forward the text.
func CleanQuery(raw string) (url.Values, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, ErrQuery
	}
	return values, nil
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
