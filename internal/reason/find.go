package reason

import (
	"cmp"
	"slices"
	"strings"
)

// Find returns the entry of a code as people type it: in any case, with '-' for '_'.
func Find(typed string) (Entry, bool) {
	want := normal(typed)
	for _, e := range All() {
		if string(e.Code) == want {
			return e, true
		}
	}
	return Entry{}, false
}

// The bounds of what is taken for a mistyped code.
const (
	maxNear     = 4
	maxDistance = 3  // edits
	maxTyped    = 64 // bytes; no code is nearly as long
)

// Near returns the codes that somebody who typed something else may have meant: those that begin with it or nearly so, those that
// hold it, and those that few edits make of it. The nearest come first.
func Near(typed string) []string {
	want := normal(typed)
	if want == "" || len(want) > maxTyped {
		return nil
	}
	type match struct {
		code string
		far  int
	}
	var found []match
	for _, e := range All() {
		code := string(e.Code)
		d := distance(want, code)
		switch {
		case d <= min(maxDistance, len(want)/2):
		case strings.HasPrefix(code, want):
			d = maxDistance + 1
		case len(want) > 2 && strings.Contains(code, want):
			d = maxDistance + 2
		case len(want) > 6 && len(code) > len(want) && distance(want, code[:len(want)+1]) <= 2: // its beginning, mistyped
			d = maxDistance + 3
		default:
			continue
		}
		found = append(found, match{code, d})
	}
	slices.SortStableFunc(found, func(a, b match) int { return cmp.Compare(a.far, b.far) })
	var codes []string
	for _, m := range found[:min(len(found), maxNear)] {
		codes = append(codes, m.code)
	}
	return codes
}

func normal(typed string) string {
	return strings.ReplaceAll(strings.ToUpper(strings.TrimSpace(typed)), "-", "_")
}

// distance is that of Levenshtein, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
