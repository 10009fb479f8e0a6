package host

import (
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxText bounds every text that comes from the machine, in bytes. Names, versions and paths are shorter.
const maxText = 256

// maxWords bounds the lists of words that come from one file.
const maxWords = 64

// clean makes a text of the machine fit to be shown, sent and stored: valid UTF-8, without characters that control a
// terminal, of at most [maxText] bytes.
func clean(s string) string {
	s = s[:min(len(s), 4*maxText)] // the rest would be cut off anyway, unless most is dropped before it
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) { // Cf turns the direction of writing
			return -1
		}
		return r
	}, s)
	if len(s) > maxText {
		cut := maxText
		for !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut]
	}
	return s
}

// words returns the first words of a text, each of them cleaned.
func words(s string) []string {
	var all []string
	for w := range strings.FieldsSeq(s) {
		if len(all) == maxWords {
			break
		}
		if w = clean(w); w != "" {
			all = append(all, w)
		}
	}
	return all
}

// cleanAll cleans every text in a value that can be set, so that no probe can forget it. Slices and maps are made anew:
// they may be those of the snapshot.
func cleanAll(v reflect.Value) {
	if !v.CanSet() {
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(clean(v.String()))
	case reflect.Struct:
		for i := range v.NumField() {
			cleanAll(v.Field(i))
		}
	case reflect.Slice:
		if v.IsNil() {
			return
		}
		whole := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(whole, v)
		for i := range whole.Len() {
			cleanAll(whole.Index(i))
		}
		v.Set(whole)
	case reflect.Map: // of what a map holds nothing can be set
		if v.IsNil() {
			return
		}
		whole := reflect.MakeMapWithSize(v.Type(), v.Len())
		for it := v.MapRange(); it.Next(); {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			key.Set(it.Key())
			value.Set(it.Value())
			cleanAll(key)
			cleanAll(value)
			whole.SetMapIndex(key, value)
		}
		v.Set(whole)
	}
}
