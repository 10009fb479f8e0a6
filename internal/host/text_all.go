package host

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pipeopshq/pipeops-agent/internal/console"
)

// widestName is the width from which on names of facts do not move the values further to the right.
const widestName = 36

// ShowAll shows every fact, named as in the JSON document, one on a line.
func (f Facts) ShowAll(p *console.Page) error {
	b, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("cannot list the facts: %w", err)
	}
	all, err := flatten(b)
	if err != nil {
		return fmt.Errorf("cannot list the facts: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Errors)) {
		all = append(all, factRow{"errors." + name, f.Errors[name]})
	}
	column := 0
	for _, r := range all {
		column = max(column, min(utf8.RuneCountInString(r.label), widestName))
	}
	p.Line(0, console.Bold, "%s", f.Summary())
	p.Blank()
	for _, r := range all {
		style := console.Style("")
		if r.text == unknownText {
			style = console.Dim
		}
		p.Row(console.Row{Label: r.label, Column: column + 2, Text: r.text, Style: style})
	}
	return nil
}

// flatten lists the leaves of a JSON document in their order: "cpu.count" is "4", "disk[0].path" is "/". A list of plain
// values is one leaf.
func flatten(b []byte) ([]factRow, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var all []factRow
	err := walk(d, "", func(name, text string) { all = append(all, factRow{name, text}) })
	return all, err
}

// walk reads one value and tells its leaves.
func walk(d *json.Decoder, name string, leaf func(name, text string)) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		n := 0
		for ; d.More(); n++ {
			key, err := d.Token()
			if err != nil {
				return err
			}
			field := fmt.Sprint(key)
			if name != "" {
				field = name + "." + field
			}
			if err := walk(d, field, leaf); err != nil {
				return err
			}
		}
		if n == 0 {
			leaf(name, "none")
		}
	case json.Delim('['):
		if err := walkList(d, name, leaf); err != nil {
			return err
		}
	default:
		leaf(name, plain(name, token))
		return nil
	}
	_, err = d.Token() // the closing delimiter
	return err
}

func walkList(d *json.Decoder, name string, leaf func(name, text string)) error {
	var values []string
	nested := false
	for i := 0; d.More(); i++ {
		element := name + "[" + strconv.Itoa(i) + "]"
		err := walk(d, element, func(at, text string) {
			if at == element {
				values = append(values, text)
				return
			}
			nested = true
			leaf(at, text)
		})
		if err != nil {
			return err
		}
	}
	if !nested {
		leaf(name, or(strings.Join(values, ", "), "none"))
	}
	return nil
}

// plain writes a value; sizes are written for people too.
func plain(name string, token json.Token) string {
	switch v := token.(type) {
	case nil:
		return unknownText
	case string:
		return or(v, unknownText)
	case bool:
		return map[bool]string{true: "yes", false: "no"}[v]
	case json.Number:
		if n, err := strconv.ParseUint(v.String(), 10, 64); err == nil && strings.HasSuffix(name, "_bytes") {
			return v.String() + " (" + Bytes(n) + ")"
		}
	}
	return fmt.Sprint(token)
}
