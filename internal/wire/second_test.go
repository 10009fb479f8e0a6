package wire

import (
	"bytes"
	"strings"
	"testing"
)

func TestSecond(t *testing.T) {
	said := Second{Token: strings.Repeat("0f", 16), Number: 7}
	raw, ok := said.Append(nil)
	if want := append([]byte("pipeops-bulk"), append(bytes.Repeat([]byte{0x0f}, 16), 0, 0, 0, 7)...); !ok || !bytes.Equal(raw, want) || len(raw) != SecondLen {
		t.Errorf("%q, %v", raw, ok)
	}
	if got, ok := ParseSecond(raw); !ok || got != said || !BeginsSecond(raw[:1]) {
		t.Errorf("%+v, %v", got, ok)
	}
	for _, token := range []string{"", "0f", strings.Repeat("0g", 16), strings.Repeat("0f", 17)} {
		if raw, ok := (Second{Token: token, Number: 1}).Append(nil); ok || raw != nil {
			t.Errorf("%q: %q", token, raw)
		}
	}
	for _, b := range [][]byte{nil, raw[1:], raw[:SecondLen-1], append(raw, 0), bytes.ToUpper(raw)} {
		if got, ok := ParseSecond(b); ok {
			t.Errorf("%q: %+v", b, got)
		}
	}
	if BeginsSecond(nil) || BeginsSecond([]byte{0}) {
		t.Error("a frame begins so")
	}
}

// FuzzSecond: what is read is what was said.
func FuzzSecond(f *testing.F) {
	f.Add([]byte("pipeops-bulk0123456789abcdef\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok := ParseSecond(b)
		if !ok {
			return
		}
		if again, ok := s.Append(nil); !ok || !bytes.Equal(again, b) || !BeginsSecond(b) {
			t.Errorf("%q makes %q", b, again)
		}
	})
}
