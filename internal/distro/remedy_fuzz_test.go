package distro

import (
	"strings"
	"testing"
)

// FuzzAmendRules wants our lines to be added once, and every other byte to stay.
func FuzzAmendRules(f *testing.F) {
	f.Add(oracleRules)
	f.Add("*filter\n:FORWARD DROP [0:0]\nCOMMIT")
	f.Add("*nat\nCOMMIT\n*filter\r\n-A INPUT -j DROP\r\nCOMMIT\r\n")
	rules := []acceptRule{{"INPUT", "-s", pods}, {"FORWARD", "-s", pods}, {"FORWARD", "-d", pods}}
	f.Fuzz(func(t *testing.T, text string) {
		once := amendRules(text, rules)
		if twice := amendRules(once, rules); twice != once {
			t.Errorf("a second time:\n%q\n%q", once, twice)
		}
		rest := once
		for _, r := range rules {
			if !strings.Contains(text, r.line()) {
				rest = strings.Replace(rest, r.line()+"\n", "", 1)
			}
		}
		if !strings.Contains(text, "pipeops-agent") && rest != text {
			t.Errorf("other bytes changed:\n%q\n%q", text, once)
		}
	})
}

func FuzzAppendWords(f *testing.F) {
	f.Add("console=tty1 quiet\n")
	f.Add("a\nb")
	f.Fuzz(func(t *testing.T, text string) {
		words := []string{"cgroup_memory=1", "cgroup_enable=memory"}
		once, err := appendWords(text, words)
		if err != nil {
			if once != text {
				t.Errorf("%q became %q", text, once)
			}
			return
		}
		if twice, err := appendWords(once, words); err != nil || twice != once {
			t.Errorf("%q became %q, %v", once, twice, err)
		}
		if !strings.HasPrefix(once, strings.TrimRight(text, " \t\r\n")) {
			t.Errorf("%q became %q", text, once)
		}
	})
}

func FuzzUnifiedMode(f *testing.F) {
	f.Add("#rc_cgroup_mode=\"hybrid\"\n")
	f.Add("rc_cgroup_mode=legacy\nrc_cgroup_mode=\"unified\"")
	f.Fuzz(func(t *testing.T, text string) {
		once := unifiedMode(text)
		if twice := unifiedMode(once); twice != once {
			t.Errorf("%q became %q", once, twice)
		}
	})
}
