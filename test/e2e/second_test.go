//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/metric"
)

// largeGoesAside sends two large files into a container, and one back, while somebody else talks with it: they come as they were, on connections
// of the tunnel of their own, which runs as a service on a machine of its own.
func (w *world) largeGoesAside(t *testing.T, kubectl func(...string) *exec.Cmd) {
	const files = 2
	output(t, kubectl("run", "large", "--image=docker.io/rancher/mirrored-library-busybox:1.36.1", "--restart=Never", "--image-pull-policy=Never", "--", "sleep", "3600"))
	output(t, kubectl("wait", "--for=condition=Ready", "pod/large", "--timeout=60s"))
	defer func() { output(t, kubectl("delete", "pod", "large", "--now")) }()

	shell := talk(t, kubectl("exec", "-i", "large", "--", "cat"))
	defer shell.end(t)
	shell.echo(t, "before")
	var aside atomic.Bool // each has a connection
	var running sync.WaitGroup
	sent := make([]file, files)
	for n := range sent {
		path := fmt.Sprint("/tmp/large", n)
		up := kubectl("exec", "-i", "large", "--", "sh", "-c", "cat >"+path+" && sha256sum "+path)
		running.Go(func() { sent[n] = send(up, byte(n), &aside) })
	}
	ended := make(chan struct{})
	go func() { defer close(ended); running.Wait() }()
	turns := 0
	for during := true; during; turns++ {
		shell.echo(t, fmt.Sprint("beside them, ", turns))
		aside.Store(aside.Load() || w.secondsBegan(t) >= files)
		select {
		case <-ended:
			during = false
		default:
		}
	}
	for n, f := range sent {
		if want := fmt.Sprintf("%s  /tmp/large%d\n", f.sum, n); f.told != want || f.err != nil {
			t.Errorf("up: %q, %v, want %q", f.told, f.err, want)
		}
	}
	if began := w.secondsBegan(t); began < files {
		t.Errorf("there were %d further connections", began)
	}

	// the API server itself loses the end of what a program says that ends at once, now and then
	down := talk(t, kubectl("exec", "-i", "large", "--", "sh", "-c", "cat /tmp/large0; read -r come || true"))
	came := sha256.New()
	if _, err := io.CopyN(came, down.out, sent[0].bytes); err != nil {
		t.Error(err)
	}
	down.end(t)
	if got := hex.EncodeToString(came.Sum(nil)); got != sent[0].sum {
		t.Errorf("down: %s, want %s", got, sent[0].sum)
	}
	t.Logf("%d words of a shell beside %d and %d MiB", turns, sent[0].bytes>>20, sent[1].bytes>>20)
}

// file is what was sent, and what the program to which it was sent told of it.
type file struct {
	bytes int64
	sum   string // SHA-256 in hexadecimal
	told  string
	err   error
}

// send says 48 MiB to a program, and more until it is enough, half a gibibyte at most.
func send(cmd *exec.Cmd, seed byte, enough *atomic.Bool) (f file) {
	const piece, least, most = 4 << 20, 48 << 20, 512 << 20
	in, err := cmd.StdinPipe()
	if err != nil {
		return file{err: err}
	}
	var told bytes.Buffer
	cmd.Stdout = &told
	if err := cmd.Start(); err != nil {
		return file{err: err}
	}
	sum := sha256.New()
	for body := rand.NewChaCha8([32]byte{seed}); err == nil && (f.bytes < least || f.bytes < most && !enough.Load()); f.bytes += piece {
		_, err = io.CopyN(io.MultiWriter(in, sum), body, piece)
	}
	f.err = errors.Join(err, in.Close(), cmd.Wait())
	f.sum, f.told = hex.EncodeToString(sum.Sum(nil)), told.String()
	return f
}

// secondsBegan is how many further connections agents have made.
func (w *world) secondsBegan(t *testing.T) int {
	t.Helper()
	name := metric.GatewayPrefix + metric.SecondBegan
	all := command(t, w.Gateway, "metrics")
	found := regexp.MustCompile(`(?m)^` + name + ` (\d+)$`).FindStringSubmatch(all)
	if found == nil {
		t.Fatalf("no %s in\n%s", name, all)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
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
