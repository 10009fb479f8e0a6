package main

import (
	"io"
	"strings"
	"unicode"
)

// visible passes text on to a terminal without what would steer it: much of what is printed, clusters and their nodes say of themselves.
// Lines and columns stay.
type visible struct{ io.Writer }

func (v visible) Write(p []byte) (int, error) {
	text := strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) { // Cf turns the direction of writing
			return unicode.ReplacementChar
		}
		return r
	}, string(p))
	if _, err := io.WriteString(v.Writer, text); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Print is that of [cli.Output], its text visible.
func (g *globals) Print(w io.Writer, value any, text func(io.Writer) error) error {
	return g.Output.Print(w, value, func(w io.Writer) error { return text(visible{w}) })
}
