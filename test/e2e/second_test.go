//go:build e2e

package e2e

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/metric"
)

// largeGoesAside sends 48 MiB into a container and back while somebody else talks with it: they come as they were, on a second connection
// of the tunnel, which runs as a service on a machine of its own.
func (w *world) largeGoesAside(t *testing.T, kubectl func(...string) *exec.Cmd) {
	const large = 48 << 20
	output(t, kubectl("run", "large", "--image=docker.io/rancher/mirrored-library-busybox:1.36.1", "--restart=Never", "--image-pull-policy=Never", "--", "sleep", "3600"))
	output(t, kubectl("wait", "--for=condition=Ready", "pod/large", "--timeout=60s"))
	defer func() { output(t, kubectl("delete", "pod", "large", "--now")) }()

	shell := talk(t, kubectl("exec", "-i", "large", "--", "cat"))
	defer shell.end(t)
	shell.echo(t, "before")
	beside := make(chan struct{})
	var told string
	up := kubectl("exec", "-i", "large", "--", "sh", "-c", "cat >/tmp/large && sha256sum /tmp/large")
	body := sha256.New()
	up.Stdin = io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), large), body)
	go func() {
		defer close(beside)
		out, err := up.Output()
		told = fmt.Sprint(string(out), err)
	}()
	turns := 0
	for during := true; during; turns++ {
		shell.echo(t, fmt.Sprint("beside it, ", turns))
		select {
		case <-beside:
			during = false
		default:
		}
	}
	want := hex.EncodeToString(body.Sum(nil))
	if told != want+"  /tmp/large\n<nil>" {
		t.Errorf("up: %s, want %s", told, want)
	}

	// the API server itself loses the end of what a program says that ends at once, now and then
	down := talk(t, kubectl("exec", "-i", "large", "--", "sh", "-c", "cat /tmp/large; read -r come || true"))
	came := sha256.New()
	if _, err := io.CopyN(came, down.out, large); err != nil {
		t.Error(err)
	}
	down.end(t)
	if got := hex.EncodeToString(came.Sum(nil)); got != want {
		t.Errorf("down: %s, want %s", got, want)
	}
	began := regexp.MustCompile(`(?m)^` + metric.GatewayPrefix + metric.SecondBegan + ` [1-9]`)
	if all := command(t, w.Gateway, "metrics"); !began.MatchString(all) {
		t.Errorf("there was no second connection:\n%s", all)
	}
	t.Logf("%d words of a shell beside %d MiB", turns, large>>20)
}

// talking is a program that is written to and read from.
type talking struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func talk(t *testing.T, cmd *exec.Cmd) talking {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return talking{cmd, in, bufio.NewReader(out)}
}

// echo says a line and wants to hear it.
func (p talking) echo(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := p.out.ReadString('\n'); strings.TrimSuffix(got, "\n") != line || err != nil {
		t.Fatalf("said %q, heard %q, %v", line, got, err)
	}
}

// end says no more, and wants the program to end well.
func (p talking) end(t *testing.T) {
	t.Helper()
	_ = p.in.Close()
	if _, err := io.Copy(io.Discard, p.out); err != nil {
		t.Error(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("%s: %v", p.cmd, err)
	}
}
