package console

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// Style is how a piece of text looks on a terminal with colours; "" is plain.
type Style string

// The styles.
const (
	Bold   Style = "1"
	Dim    Style = "2"
	Red    Style = "1;31"
	Green  Style = "1;32"
	Yellow Style = "33"
)

// Page lays out text for people: labels on the left, text wrapped to the width of the terminal with hanging indents. What it
// is given may come from a host that lies: control characters are not passed on. The zero value wraps nothing and has no
// colours.
type Page struct {
	Width int  // in columns; 0 means that nothing is wrapped
	Color bool // whether styles are shown
	All   bool // nothing is left out for the sake of brevity

	text strings.Builder
}

// narrowest is the width below which lines are not broken further, and widest the one beyond which they are hard to read.
const (
	narrowest = 40
	widest    = 140
)

// PageFor returns a page for a stream. Colours are for terminals only, and not for those who set NO_COLOR (no-color.org) or
// TERM=dumb. The width is that of the terminal; COLUMNS, if it is exported, says more.
func PageFor(w io.Writer, getenv func(string) string) *Page {
	p := &Page{}
	if fd, ok := terminalOf(w); ok {
		p.Color = getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
		p.Width = 80
		if width, _, err := term.GetSize(fd); err == nil && width > 0 {
			p.Width = width
		}
	}
	if n, err := strconv.Atoi(getenv("COLUMNS")); err == nil && n > 0 {
		p.Width = n
	}
	if p.Width > 0 {
		p.Width = min(max(p.Width, narrowest), widest)
	}
	return p
}

// IsTerminal reports whether a stream is a terminal.
func IsTerminal(w io.Writer) bool {
	_, ok := terminalOf(w)
	return ok
}

func terminalOf(w io.Writer) (fd int, ok bool) {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return 0, false
	}
	return int(file.Fd()), true
}

// Row is a label and a text beside it. The text is wrapped, and its further lines begin where the first one does.
type Row struct {
	Indent int    // columns before the label
	Label  string // may be empty
	Column int    // columns that the label takes; a longer label is followed by the text after two blanks
	Text   string
	Look   Style // of the label
	Style  Style // of the text
}

// Row adds a row.
func (p *Page) Row(r Row) {
	label := Clean(r.Label)
	margin := strings.Repeat(" ", r.Indent)
	pad := ""
	if label != "" || r.Column > 0 {
		pad = strings.Repeat(" ", max(r.Column-utf8.RuneCountInString(label), 0))
		if label != "" && pad == "" && r.Column > 0 {
			pad = "  "
		}
	}
	start := r.Indent + utf8.RuneCountInString(label) + len(pad)
	hang := r.Indent + max(r.Column, 0)
	lines := p.wrap(Clean(r.Text), start, hang)
	for i, line := range lines {
		if i == 0 {
			p.line(margin + p.Paint(r.Look, label) + pad + p.Paint(r.Style, line))
		} else {
			p.line(strings.Repeat(" ", hang) + p.Paint(r.Style, line))
		}
	}
}

// Line adds a text without a label.
func (p *Page) Line(indent int, style Style, format string, args ...any) {
	p.Row(Row{Indent: indent, Text: fmt.Sprintf(format, args...), Style: style})
}

// Paste adds a line as it is, for it will be copied from the terminal: it is never wrapped.
func (p *Page) Paste(indent int, text string) {
	p.line(strings.Repeat(" ", indent) + Clean(text))
}

// Blank adds an empty line, unless the page is empty or ends in one.
func (p *Page) Blank() {
	if s := p.text.String(); s != "" && !strings.HasSuffix(s, "\n\n") {
		p.text.WriteString("\n")
	}
}

// More adds what tells that a list was cut.
func (p *Page) More(indent, left int) {
	if left > 0 {
		p.Line(indent, Dim, "and %d more: -v shows them", left)
	}
}

// Most returns how many of n things to show, of which usually no more than most are. One more than most is shown too: the
// line that says so would take as much room.
func (p *Page) Most(n, most int) int {
	if p.All || n <= most+1 {
		return n
	}
	return most
}

// Paint returns the text in a style, if the page has colours.
func (p *Page) Paint(style Style, text string) string {
	if !p.Color || style == "" || text == "" {
		return text
	}
	return "\x1b[" + string(style) + "m" + text + "\x1b[0m"
}

// String returns the page. Every line ends with a newline.
func (p *Page) String() string { return p.text.String() }

// WriteTo writes the page.
func (p *Page) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, p.text.String())
	return int64(n), err
}

func (p *Page) line(s string) { p.text.WriteString(strings.TrimRight(s, " ") + "\n") }

// wrap breaks a text into lines: the first begins in column start, all others in column hang. A word that is too long for a
// line keeps one of its own: a path or an address that was broken could not be copied.
func (p *Page) wrap(text string, start, hang int) []string {
	if p.Width == 0 {
		return []string{text}
	}
	var lines []string
	line, used := "", start
	for _, word := range words(text) {
		n := utf8.RuneCountInString(word)
		if line != "" && used+1+n > p.Width {
			lines = append(lines, line)
			line, used = word, hang+n
			continue
		}
		if line != "" {
			line, used = line+" ", used+1
		}
		line, used = line+word, used+n
	}
	return append(lines, line)
}

// words splits a text where it may be broken: a number stays with what it counts, as in "8 GiB" and "4 CPUs".
func words(text string) []string {
	var all []string
	for word := range strings.SplitSeq(text, " ") {
		if last := len(all) - 1; last >= 0 && all[last] != "" && strings.Trim(all[last], "0123456789.") == "" {
			all[last] += " " + word
			continue
		}
		all = append(all, word)
	}
	return all
}

// cleanLines is Clean for a text that may have several lines.
func cleanLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = Clean(line)
	}
	return strings.Join(lines, "\n")
}

// Clean makes one line of a text and replaces what a terminal would obey instead of showing it.
func Clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return ' '
		case r == utf8.RuneError, !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, text)
}
