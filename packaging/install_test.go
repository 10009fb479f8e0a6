// Package packaging tests what delivers the program: install.sh, under every shell that it may meet.
package packaging

import (
	"bytes"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// program stands in for pipeops-agent: it writes down how it was started.
const program = `#!/bin/sh
{ echo "args: $*"; echo "token: ${PIPEOPS_TOKEN:-none}"; printf 'stdin: '; cat; echo; } >"$REPORT"
exit 3
`

const token = "pat_0123456789abcdef.secret-of-the-token.00"

// site is a release page and a machine to install on.
type site struct {
	t        *testing.T
	shell    []string
	path     string // PATH of the script: the tools that it may use
	bin      string
	report   string
	script   []byte
	url      string
	files    map[string]string
	env      []string // more of it
	mu       sync.Mutex
	requests []string
}

// The tools of a small machine. curl or wget come on top.
func tools() []string {
	return []string{"sh", "cat", "chmod", "cut", "mkdir", "mktemp", "mv", "rm", "sed", "sha256sum", "sleep"}
}

func newSite(t *testing.T, shell ...string) *site {
	t.Helper()
	script, err := os.ReadFile("../install.sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &site{
		t: t, shell: shell, path: filepath.Join(dir, "path"), bin: filepath.Join(dir, "bin"),
		report: filepath.Join(dir, "report"), script: script,
		files: map[string]string{"pipeops-agent-linux-" + runtime.GOARCH: program},
	}
	s.files["sha256sums"] = fmt.Sprintf("%x  pipeops-agent-linux-%s\n%x  other\n", sha256.Sum256([]byte(program)), runtime.GOARCH, 1)
	if err := os.Mkdir(s.path, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tool := range append(tools(), "curl") {
		s.link(tool)
	}
	s.fake("id", "echo 0")
	s.fake("uname", `case $1 in -s) echo Linux ;; -m) echo `+runtime.GOARCH+` ;; esac`)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, strings.TrimPrefix(r.URL.Path, "/"))
	s.mu.Unlock()
	content, ok := s.files[strings.TrimPrefix(r.URL.Path, "/")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if cut, isCut := strings.CutSuffix(content, "CUT"); isCut {
		w.Header().Set("Content-Length", fmt.Sprint(len(cut)+100))
		_, _ = w.Write([]byte(cut))
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write([]byte(content))
}

// link lets the script find a tool of this machine.
func (s *site) link(tool string) {
	s.t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		s.t.Skipf("SKIPPED: %s is not on this machine; test/lab/setup.sh installs it", tool)
	}
	if err := os.Symlink(path, filepath.Join(s.path, tool)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) fake(tool, body string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.path, tool), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		s.t.Fatal(err)
	}
}

// run pipes the script into the shell, as curl | sh does, and returns exit code and what it said.
func (s *site) run(args ...string) (int, string) {
	s.t.Helper()
	argv := slices.Clone(s.shell)
	if len(args) > 0 {
		argv = append(append(argv, "-s", "--"), args...)
	}
	cmd := exec.CommandContext(s.t.Context(), argv[0], argv[1:]...)
	cmd.Stdin = bytes.NewReader(s.script)
	cmd.Env = []string{"PATH=" + s.path, "REPORT=" + s.report, "PIPEOPS_TOKEN=" + token,
		"PIPEOPS_DOWNLOAD_URL=" + s.url, "PIPEOPS_BIN_DIR=" + s.bin}
	cmd.Env = append(cmd.Env, s.env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// untouched checks that a refused or failed run left nothing.
func (s *site) untouched() {
	s.t.Helper()
	entries, err := os.ReadDir(s.bin)
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		s.t.Errorf("%s was left behind", e.Name())
	}
	if _, err := os.Stat(s.report); err == nil {
		s.t.Error("the program was started")
	}
}

func eachShell(t *testing.T, test func(t *testing.T, shell ...string)) {
	for _, shell := range [][]string{{"dash"}, {"busybox", "ash"}, {"bash", "--posix"}} {
		path, err := exec.LookPath(shell[0])
		t.Run(shell[0], func(t *testing.T) {
			if err != nil {
				t.Skipf("SKIPPED: %s is not on this machine; test/lab/setup.sh installs it", shell[0])
			}
			test(t, append([]string{path}, shell[1:]...)...)
		})
	}
}

func TestInstall(t *testing.T) {
	eachShell(t, func(t *testing.T, shell ...string) {
		s := newSite(t, shell...)
		code, said := s.run("--cluster", "shop")
		if code != 3 {
			t.Fatalf("got exit code %d, want that of the program; it said: %s", code, said)
		}
		report, err := os.ReadFile(s.report)
		if err != nil {
			t.Fatal(err)
		}
		if want := "args: install --cluster shop\ntoken: " + token + "\nstdin: \n"; string(report) != want {
			t.Errorf("the program was started with\n%s\nwant\n%s", report, want)
		}
		for want, args := range map[string][]string{"install": nil, "version": {"version"}, "join --cluster x y": {"join", "--cluster", "x y"}} {
			if code, said := s.run(args...); code != 3 {
				t.Fatalf("%s: got exit code %d; it said: %s", want, code, said)
			}
			if report, err := os.ReadFile(s.report); err != nil || !strings.HasPrefix(string(report), "args: "+want+"\n") {
				t.Errorf("the program was started with\n%s, %v\nwant %s", report, err, want)
			}
		}
		info, err := os.Stat(filepath.Join(s.bin, "pipeops-agent"))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o755 {
			t.Errorf("the program has mode %v", info.Mode())
		}
		if entries, _ := os.ReadDir(s.bin); len(entries) != 1 {
			t.Errorf("%d files were left, want one", len(entries))
		}
		if strings.Contains(said, "secret") {
			t.Errorf("it shows the token: %s", said)
		}

		// the same once more downloads no program
		s.requests = nil
		if code, said := s.run(); code != 3 {
			t.Fatalf("second run: exit code %d; it said: %s", code, said)
		}
		if want := []string{"sha256sums"}; !slices.Equal(s.requests, want) {
			t.Errorf("second run asked for %q, want %q", s.requests, want)
		}
	})
}

func TestInstallWithDigestsFilledIn(t *testing.T) {
	s := newSite(t, "sh")
	placeholder := "@SHA256_" + strings.ToUpper(runtime.GOARCH) + "@"
	s.script = bytes.ReplaceAll(s.script, []byte(placeholder), fmt.Appendf(nil, "%x", sha256.Sum256([]byte(program))))
	if code, said := s.run(); code != 3 {
		t.Fatalf("got exit code %d; it said: %s", code, said)
	}
	if want := []string{"pipeops-agent-linux-" + runtime.GOARCH}; !slices.Equal(s.requests, want) {
		t.Errorf("asked for %q, want %q", s.requests, want)
	}
}

func TestInstallRefuses(t *testing.T) {
	name := "pipeops-agent-linux-" + runtime.GOARCH
	tests := []struct {
		name string
		edit func(*site)
		code int
		says string
	}{
		{"not root", func(s *site) { s.fake("id", "echo 1000") }, 10, "sudo"},
		{"not Linux", func(s *site) { s.fake("uname", "echo Darwin") }, 10, "Linux"},
		{"architecture", func(s *site) { s.fake("uname", "[ $1 = -s ] && echo Linux || echo riscv64") }, 10, "riscv64"},
		{"wrong digest", func(s *site) { s.files[name] += "#" }, 20, "nothing of it was kept"},
		{"not in the list", func(s *site) { s.files["sha256sums"] = "00  other\n" }, 20, "does not name"},
		{"no list", func(s *site) { delete(s.files, "sha256sums") }, 20, "/sha256sums"},
		{"no program", func(s *site) { delete(s.files, name) }, 20, "/" + name},
		{"cut", func(s *site) { s.files[name] = program[:20] + "CUT" }, 20, "cannot download"},
		{"nobody there", func(s *site) { s.url = "http://127.0.0.1:1" }, 20, "check the network"},
		{"no folder", func(s *site) { s.bin = "/proc/nowhere" }, 10, "PIPEOPS_BIN_DIR"},
		{"no curl, no wget", func(s *site) { _ = os.Remove(s.path + "/curl") }, 20, "neither curl nor wget"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, "sh")
			tt.edit(s)
			code, said := s.run()
			if code != tt.code || !strings.Contains(said, tt.says) {
				t.Errorf("got exit code %d and %q, want %d and %q", code, said, tt.code, tt.says)
			}
			s.untouched()
		})
	}
}

func TestInstallWithWgetOnly(t *testing.T) {
	for _, wget := range [][]string{{"wget"}, {"busybox", "wget"}} {
		t.Run(strings.Join(wget, " "), func(t *testing.T) {
			s := newSite(t, "sh")
			if err := os.Remove(s.path + "/curl"); err != nil {
				t.Fatal(err)
			}
			if wget[0] == "busybox" {
				s.link("busybox")
				s.fake("wget", `exec busybox wget "$@"`)
			} else {
				s.link("wget")
			}
			if code, said := s.run(); code != 3 {
				t.Fatalf("got exit code %d; it said: %s", code, said)
			}
		})
	}
}

// The digests of a release are in the script; where they are not, they come from where the program comes from, and nobody on
// the way may hand out both.
func TestInstallIsNotLedToPlainHTTP(t *testing.T) {
	s := newSite(t, "sh")
	plain := s.url
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain+r.URL.Path, http.StatusFound)
	}))
	t.Cleanup(secure.Close)
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	s.env = []string{"CURL_CA_BUNDLE=" + authority}
	s.url = secure.URL
	if code, said := s.run(); code != 20 || len(s.requests) > 0 {
		t.Errorf("got exit code %d and the requests %q; it said: %s", code, s.requests, said)
	}
	s.untouched()

	s.url = plain + "/moved" // who names a plain mirror has it
	s.files["moved/sha256sums"], s.files["moved/pipeops-agent-linux-"+runtime.GOARCH] = s.files["sha256sums"], program
	if code, said := s.run(); code != 3 {
		t.Errorf("got exit code %d; it said: %s", code, said)
	}
}

func TestInstallUsesTheProxyOfThePrograms(t *testing.T) {
	for name, with := range map[string][]string{"curl": {"curl"}, "wget": {"wget"}} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "sh")
			if err := os.Remove(s.path + "/curl"); err != nil {
				t.Fatal(err)
			}
			s.link(with[0])
			s.env = []string{"PIPEOPS_PROXY=" + s.url, "http_proxy=http://127.0.0.1:1"}
			s.url = "http://mirror.test"
			if code, said := s.run(); code != 3 || len(s.requests) != 2 {
				t.Errorf("through the proxy: exit code %d, requests %q; it said: %s", code, s.requests, said)
			}
		})
	}
	s := newSite(t, "sh")
	s.env = []string{"PIPEOPS_PROXY=none", "http_proxy=http://127.0.0.1:1"}
	if code, said := s.run(); code != 3 {
		t.Errorf("without a proxy: exit code %d; it said: %s", code, said)
	}
}

// TestInstallCut checks that a script which was cut on its way does nothing: every 100 bytes, and every byte at the end.
func TestInstallCut(t *testing.T) {
	eachShell(t, func(t *testing.T, shell ...string) {
		s := newSite(t, shell...)
		whole := bytes.TrimRight(s.script, "\n")
		for n := 0; n < len(whole); n++ {
			if n%100 != 0 && n < len(whole)-120 {
				continue
			}
			s.script = whole[:n]
			s.run()
			s.untouched()
			if t.Failed() || len(s.requests) > 0 {
				t.Fatalf("cut after %d of %d bytes: it asked for %q", n, len(whole), s.requests)
			}
		}
	})
}
