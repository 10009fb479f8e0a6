package distro

import "testing"

func TestRaise(t *testing.T) {
	for now, tt := range map[string]struct {
		want string
		low  bool
		bad  bool
	}{
		"8192":                   {"16384", true, false},
		"16384":                  {"16384", false, false},
		"-1":                     {"16384", true, false},
		"4096\t16384\t4194304":   {"4096\t16384\t4194304", false, false},
		"4096 1 8192":            {"4096\t1\t16384", true, false},
		"":                       {"", false, true},
		"4096 many":              {"", false, true},
		"99999999999999999999":   {"", false, true},
		"4096\t16384\t33554432":  {"4096\t16384\t33554432", false, false},
		"9223372036854775807":    {"9223372036854775807", false, false},
		"0x4000":                 {"", false, true},
		"4096\t16384\t0\nsecond": {"", false, true},
	} {
		got, low, err := limit{name: "x", least: 16384}.raise(now)
		if got != tt.want || low != tt.low || (err != nil) != tt.bad {
			t.Errorf("%q: %q, %v, %v", now, got, low, err)
		}
	}
}
