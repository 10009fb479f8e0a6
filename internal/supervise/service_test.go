package supervise

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func valid() Service {
	return Service{Name: "k3s", Title: "Lightweight Kubernetes", Argv: []string{"/usr/local/bin/k3s", "server"}, Log: "/var/log/k3s.log", Notify: true, Alone: true, Grace: 60}
}

func TestDefinitionsAreChecked(t *testing.T) {
	content, err := valid().Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse(content)
	if err != nil || back.Name != "k3s" || !back.Alone || back.grace().Seconds() != 60 {
		t.Errorf("%+v, %v", back, err)
	}
	for name, change := range map[string]func(*Service){
		"a name that leads elsewhere": func(s *Service) { s.Name = "../k3s" },
		"no program":                  func(s *Service) { s.Argv = nil },
		"a program of the path":       func(s *Service) { s.Argv = []string{"k3s"} },
		"no log":                      func(s *Service) { s.Log = "" },
		"a module with an option":     func(s *Service) { s.Modules = []string{"--force"} },
		"a grace of a week":           func(s *Service) { s.Grace = 7 * 86400 },
		"a dog that never bites":      func(s *Service) { s.Watchdog = 1 << 60 },
		"a folder somewhere":          func(s *Service) { s.Folders = []string{"here"} },
	} {
		s := valid()
		change(&s)
		if _, err := s.Encode(); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for _, text := range []string{`{"version":2,"name":"k3s","argv":["/k3s"],"log":"/l"}`, `{"version":1,"name":"k3s","argv":["/k3s"],"log":"/l","shell":true}`} {
		if s, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s is taken: %+v", text, s)
		}
	}
}

func TestOrder(t *testing.T) {
	names := func(all []Service) string {
		var out []string
		for _, s := range ordered(all) {
			out = append(out, s.Name)
		}
		return strings.Join(out, " ")
	}
	if got := names([]Service{{Name: "agent", After: []string{"k3s", "gone"}}, {Name: "resume"}, {Name: "k3s"}}); got != "k3s agent resume" {
		t.Error(got)
	}
	if got := names([]Service{{Name: "b", After: []string{"a"}}, {Name: "a", After: []string{"b"}}}); got != "b a" && got != "a b" {
		t.Error(got)
	}
}

func TestEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env")
	text := "# proxies\nHTTP_PROXY='http://a b'\n export NO_PROXY=\"x,y\"\n1BAD=no\nPIPEOPS_SERVICE=other\nplain\nEMPTY=\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PIPEOPS_TOKEN", "secret")
	s := valid()
	s.EnvFiles, s.Watchdog = []string{filepath.Join(t.TempDir(), "none"), file}, 30
	got, err := s.environment("/run/x")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"HTTP_PROXY=http://a b", "NO_PROXY=x,y", "EMPTY=", "NOTIFY_SOCKET=/run/x", "WATCHDOG_USEC=30000000"}
	if !slices.Equal(got[4:], want) || got[3] != "PIPEOPS_SERVICE=k3s" {
		t.Errorf("%q", got)
	}
}

// TestLogIsNotForOthers: one that was there before may be for all; that its group may read it is the administrator's to say.
func TestLogIsNotForOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := openLog(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := openLog(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for n := range 2 * keptLogs {
		line := bytes.Repeat([]byte{byte('a' + n)}, 100)
		if _, err := f.Write(line); err != nil {
			t.Fatal(err)
		}
		if err := rotate(path, 60); err != nil {
			t.Fatal(err)
		}
		if err := rotate(path, 60); err != nil { // an empty one is left alone
			t.Fatal(err)
		}
		if got, err := os.ReadFile(aside(path, 1)); err != nil || !bytes.Equal(got, line[:60]) {
			t.Fatalf("%q, %v", got, err)
		}
	}
	for n, want := range map[int]byte{1: 'f', 2: 'e', 3: 'd'} {
		if got, err := os.ReadFile(aside(path, n)); err != nil || got[0] != want {
			t.Errorf("%d: %q, %v", n, got, err)
		}
		if st, err := os.Stat(aside(path, n)); err != nil || st.Mode() != 0o600 {
			t.Errorf("%d: %v, %v", n, st, err)
		}
	}
	if _, err := os.Stat(aside(path, keptLogs+1)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("too many are kept: %v", err)
	}
	if err := rotate(filepath.Join(t.TempDir(), "none"), 1); err != nil {
		t.Error(err)
	}
}

func TestLogThatLeadsElsewhere(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "link"), dir, "/dev/null"} {
		if f, err := openLog(path, false); err == nil {
			_ = f.Close()
			t.Errorf("%s is opened", path)
		}
	}
}

func TestServicesAreHeard(t *testing.T) {
	dir, err := os.MkdirTemp("", "supervise")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "notify")
	heard := make(chan notice, 1)
	for range 2 { // made anew under the same name
		conn, err := listen(path)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { defer close(ended); listenTo(conn, func(n notice) { heard <- n }) }()
		speaker, err := net.Dial("unixgram", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := speaker.Write([]byte("READY=1\nSTATUS=up\x1b[31m")); err != nil {
			t.Fatal(err)
		}
		if n := <-heard; !n.ready || n.alive || n.status != "up [31m" {
			t.Errorf("%+v", n)
		}
		if err := errors.Join(speaker.Close(), conn.Close()); err != nil {
			t.Fatal(err)
		}
		<-ended
	}
}

func FuzzParse(f *testing.F) {
	content, err := valid().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		s, err := Parse(content)
		if err != nil {
			return
		}
		again, err := s.Encode()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if _, err := Parse(again); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzEnvironment(f *testing.F) {
	f.Add("A='b'\nexport C=\"\"\n#\n=x\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, e := range parseEnvironment(text) {
			name, _, ok := strings.Cut(e, "=")
			if !ok || !validVariable(name) || strings.ContainsRune(e, 0) {
				t.Errorf("%q", e)
			}
		}
	})
}

func FuzzNotice(f *testing.F) {
	f.Add([]byte("READY=1\nSTATUS=up\nWATCHDOG=1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if n := parseNotice(text); len(n.status) > maxSaid || !utf8.ValidString(n.status) || strings.ContainsAny(n.status, "\n\x1b") {
			t.Errorf("%q", n.status)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"pid":7,"start":8,"boot":"x"}`), []byte("7 (a b) c) S 1 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 42 1"))
	f.Fuzz(func(t *testing.T, content, line []byte) {
		if r, ok := parseRecord(content); ok && r.PID < 2 {
			t.Errorf("%+v", r)
		}
		parseStart(line)
	})
}
