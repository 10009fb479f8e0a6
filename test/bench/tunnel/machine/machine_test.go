package machine

import (
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	stat := "71 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 123 45 0 0 20 0 7 0 1 2 3\n"
	got, err := parseStat([]byte(stat))
	if want := 1680 * time.Millisecond; err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	for _, broken := range []string{"", "71 (a) R 1 2", "71 (a) R 1 2 3 4 5 6 7 8 9 10 x 45 0", "71 (a)"} {
		if got, err := parseStat([]byte(broken)); err == nil {
			t.Errorf("%q gives %s", broken, got)
		}
	}
}

func TestParseBusy(t *testing.T) {
	got, err := parseBusy("cpu  100 20 30 4000 500 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
	if want := 1710 * time.Millisecond; err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	for _, broken := range []string{"", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8 9", "cpu a 2 3 4 5 6 7 8 9"} {
		if got, err := parseBusy(broken); err == nil {
			t.Errorf("%q gives %s", broken, got)
		}
	}
}

func TestOwnTimeIsNotOthers(t *testing.T) {
	w, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for now := before; now < before+50*time.Millisecond; { // until the kernel has counted that much
		if now, err = CPU(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	m, err := w.End()
	if err != nil {
		t.Fatal(err)
	}
	if m.CPUs < 1 || m.Kernel == "" || m.Before == "" || m.Others < 0 || m.Others > 1 {
		t.Errorf("got %+v", m)
	}
}

func TestParseStatus(t *testing.T) {
	text := "Name:\ta\nVmHWM:\t   1234 kB\nRssAnon:\t      56 kB\n"
	if got, err := parseStatus(text, "RssAnon"); err != nil || got != 56<<10 {
		t.Errorf("got %d, %v", got, err)
	}
	for _, broken := range []string{"", "RssAnon:\tx kB\n", "RssAnon:\n"} {
		if got, err := parseStatus(broken, "RssAnon"); err == nil {
			t.Errorf("%q gives %d", broken, got)
		}
	}
	if got, err := Peak(os.Getpid()); err != nil || got < 1<<20 {
		t.Errorf("this process: %d, %v", got, err)
	}
}
