package supervise

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestCarriesInTheMidstOfExec: a process that shows no environment for a moment is not taken for one that has none.
func TestCarriesInTheMidstOfExec(t *testing.T) {
	for name, tt := range map[string]struct {
		environ []string // at one look after the other
		kernel  bool     // it has no program
		want    bool
	}{
		"marked":       {environ: []string{"A=1\x00" + ownMark + "web\x00"}, want: true},
		"another's":    {environ: []string{"A=1\x00" + ownMark + "web2\x00"}},
		"begins":       {environ: []string{"", "", ownMark + "web\x00"}, want: true},
		"the kernel's": {environ: []string{""}, kernel: true},
		"has none":     {environ: strings.Split(strings.Repeat(",", execLooks-1), ",")},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			proc := filepath.Join(root, "proc", "77")
			if err := os.MkdirAll(proc, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(root, filepath.Join(proc, "root")); err != nil {
				t.Fatal(err)
			}
			if !tt.kernel {
				if err := os.Symlink("/bin/true", filepath.Join(proc, "exe")); err != nil {
					t.Fatal(err)
				}
			}
			environ := filepath.Join(proc, "environ")
			if err := syscall.Mkfifo(environ, 0o600); err != nil {
				t.Fatal(err)
			}
			said := make(chan error)
			go func() {
				for _, text := range tt.environ { // each look is waited for
					f, err := os.OpenFile(environ, os.O_WRONLY, 0)
					if err == nil {
						_, err = f.WriteString(text)
						_ = os.Remove(environ) // who looks again finds the next one
						_ = syscall.Mkfifo(environ, 0o600)
						_ = f.Close()
					}
					if err != nil {
						said <- err
						return
					}
				}
				said <- nil
			}()
			if got := carries(root, 77, "web"); got != tt.want {
				t.Errorf("%v", got)
			}
			if err := <-said; err != nil {
				t.Error(err)
			}
		})
	}
}
