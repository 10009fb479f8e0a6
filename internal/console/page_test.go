package console

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestPage(t *testing.T) {
	p := &Page{Width: 40}
	p.Blank() // nothing comes before the first line
	p.Row(Row{Label: "Memory", Column: 10, Text: "7.8 GiB, of which 7.1 GiB are available to all"})
	p.Row(Row{Indent: 2, Label: "a-label-that-is-long", Column: 8, Text: "x"})
	p.Line(0, "", "what is counted stays by its number: 8 GiB")
	p.Blank()
	p.Blank()
	p.Paste(2, "pct set 101 --features nesting=1,keyctl=1 # not wrapped")
	p.More(0, 0)
	p.More(0, 3)
	want := `Memory    7.8 GiB, of which 7.1 GiB are
          available to all
  a-label-that-is-long  x
what is counted stays by its number:
8 GiB

  pct set 101 --features nesting=1,keyctl=1 # not wrapped
and 3 more: -v shows them
`
	if diff := cmp.Diff(want, p.String()); diff != "" {
		t.Error(diff)
	}
}

func TestPageHasColoursOnlyIfAsked(t *testing.T) {
	row := Row{Label: "Fits", Column: 6, Text: "k3s", Look: Bold, Style: Green}
	plain, colour := &Page{}, &Page{Color: true}
	plain.Row(row)
	colour.Row(row)
	if plain.String() != "Fits  k3s\n" || colour.String() != "\x1b[1mFits\x1b[0m  \x1b[1;32mk3s\x1b[0m\n" {
		t.Errorf("got %q and %q", plain, colour)
	}
}

// TestPageDoesNotObeyTheHost: what a host calls itself must not reach the terminal as a command to it.
func TestPageDoesNotObeyTheHost(t *testing.T) {
	p := &Page{}
	p.Row(Row{Label: "na\x1bme", Text: "Debian\x1b[2J\r\n12 \u202e\xff\x00"})
	p.Paste(0, "a\x07b\nc")
	for _, r := range strings.ReplaceAll(p.String(), "\n", "") {
		if r < ' ' || r == '\u202e' || r == utf8.RuneError {
			t.Errorf("%q holds %q", p, r)
		}
	}
	if strings.Count(p.String(), "\n") != 2 {
		t.Errorf("%q does not have two lines", p)
	}
}

func TestPageFor(t *testing.T) {
	tests := map[string]int{"": 0, "100": 100, "7": narrowest, "9999": widest, "wide": 0, "-4": 0}
	for columns, want := range tests {
		p := PageFor(&bytes.Buffer{}, func(name string) string { return map[string]string{"COLUMNS": columns}[name] })
		if p.Width != want || p.Color {
			t.Errorf("COLUMNS=%s: %+v", columns, p)
		}
	}
}

func TestMost(t *testing.T) {
	p := &Page{}
	for n, want := range map[int]int{0: 0, 3: 3, 4: 4, 5: 3, 9: 3} {
		if got := p.Most(n, 3); got != want {
			t.Errorf("of %d: %d, want %d", n, got, want)
		}
	}
	if all := (&Page{All: true}); all.Most(9, 3) != 9 {
		t.Error("All leaves something out")
	}
}

func FuzzPage(f *testing.F) {
	f.Add("label", "some text that is wrapped somewhere", 40, 10)
	f.Add("", "\xff\x1b[31m\u2028", 1, -3)
	f.Fuzz(func(t *testing.T, label, text string, width, column int) {
		p := &Page{Width: min(max(width, 0), 500)}
		p.Row(Row{Label: label, Column: min(max(column, 0), 100), Text: text})
		if s := p.String(); !strings.HasSuffix(s, "\n") || strings.ContainsAny(s, "\x1b\r\x00") {
			t.Errorf("got %q", s)
		}
	})
}
