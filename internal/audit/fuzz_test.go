package audit

import (
	"bytes"
	"errors"
	"os"
	"testing"
)

// FuzzVerify reads whatever stands in a file, and finds nothing wrong only with what was recorded.
func FuzzVerify(f *testing.F) {
	l := open(f, Options{FileSize: 3000})
	fill(l, 5)
	shut(f, l)
	files, err := Files(l.o.Dir)
	if err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, 10, byte('x'))
	f.Add([]byte("{}\n"), 0, byte(0))
	f.Add([]byte(`{"seq":1,"prev":"","kind":"file","file":null}`+"\n"), 3, byte('\n'))
	f.Fuzz(func(t *testing.T, raw []byte, at int, b byte) {
		judge := func(raw []byte) Report {
			v := verifier{open: map[string]bool{}}
			if err := readFrom(bytes.NewReader(raw), fileName(1), v.line); err != nil && !errors.As(err, &v.report.Bad) {
				t.Fatal(err)
			}
			if v.report.Bad == nil {
				v.end()
			}
			return v.report
		}
		r := judge(raw)
		if r.Bad != nil {
			if r.Bad.Error() == "" || r.Bad.Line < 1 {
				t.Errorf("got %+v", r.Bad)
			}
			return
		}
		if at < 0 || at >= len(raw) || raw[at] == b {
			return
		}
		changed := bytes.Clone(raw)
		changed[at] = b
		if again := judge(changed); again.Bad == nil && again.Sum == r.Sum {
			t.Errorf("a byte was changed, and nobody sees it")
		}
	})
}
