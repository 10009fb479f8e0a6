package gateway_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/apiproxy"
	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/tunnel"
)

// agentDir names the folder of the agent that this program is to be, in a process of its own whose memory can be read; unset, it is a test.
const agentDir = "PIPEOPS_TEST_AGENT"

// mostGrowth is the most by which the memory of an agent may grow while a large body goes through it, in bytes (bar B14).
const mostGrowth = 16 << 20

// beAgent is an agent with the real way to an API server, until it gets SIGTERM.
func beAgent(dir string) error {
	id, err := identity.Load(dir)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	debug.SetMemoryLimit(64 << 20) // as pipeops-agent run has it
	log := slog.New(slog.DiscardHandler)
	var tracker health.Tracker
	source := &cluster.Source{Path: filepath.Join(dir, "kubeconfig")}
	wait := func(ctx context.Context, _ *tunnel.Client) { <-ctx.Done() }
	return tunnel.Run(ctx, tunnel.Options{Identity: id, Log: log, Health: &tracker, OnSession: wait, Handler: apiproxy.New(apiproxy.Options{
		Log: log, Upstream: func(context.Context) (apiproxy.Upstream, error) {
			client, err := source.Client()
			if err != nil {
				return apiproxy.Upstream{}, err
			}
			return apiproxy.Upstream{Base: client.Base, HTTP: client.HTTP.Transport, Upgrade: client.Upgrade}, nil
		},
	})})
}

// process is an agent in a process of its own.
type process struct {
	t    testing.TB
	pid  int
	user *user
}

// startProcess enrols an agent, starts it, and sends a first request through it.
func startProcess(t testing.TB, api http.Handler) *process {
	t.Helper()
	server := httptest.NewUnstartedServer(api)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	g := gatewaytest.Start(t)
	dir := t.TempDir()
	if _, err := enroll(t, g, dir, "shop", g.Token("")); err != nil {
		t.Fatal(err)
	}
	ca := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	kubeconfig := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],`+
		`"clusters":[{"name":"c","cluster":{"server":%q,"certificate-authority-data":%q}}],"users":[{"name":"u","user":{"token":"secret"}}]}`, server.URL, ca)
	if err := os.WriteFile(filepath.Join(dir, "kubeconfig"), []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(context.WithoutCancel(t.Context()), self)
	child.Env = append(os.Environ(), agentDir+"="+dir)
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = child.Process.Signal(syscall.SIGTERM)
		_ = child.Wait()
	})
	g.WaitConnected("shop", true)
	p := &process{t: t, pid: child.Process.Pid, user: login(t, g, "shop")}
	if status, body := p.user.get("/small"); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	return p
}

// rss returns a figure of the process's memory in bytes: VmRSS is what it has, VmHWM the most that it had since reset.
func (p *process) rss(figure string) int64 {
	p.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, figure+":"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				p.t.Fatal(err)
			}
			return kib << 10
		}
	}
	p.t.Fatalf("no %s", figure)
	return 0
}

// growth returns by how much the process's memory was at most above what it was before.
func (p *process) growth(do func()) int64 {
	p.t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.pid), []byte("5"), 0o600); err != nil { // resets VmHWM (proc(5))
		p.t.Fatal(err)
	}
	before := p.rss("VmRSS")
	do()
	return p.rss("VmHWM") - before
}

// bodies is an API server with a list of any size and an end for uploads of any size.
type bodies struct{}

var block = bytes.Repeat([]byte(`{"kind":"Pod","metadata":{"name":"web-0"}},`), 1000) // 43 kB that nobody changes

func (bodies) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_, _ = fmt.Fprint(w, n)
		return
	}
	size, _ := strconv.ParseInt(r.URL.Query().Get("bytes"), 10, 64)
	for sent := int64(0); sent < size; {
		n, err := w.Write(block[:min(int64(len(block)), size-sent)])
		if err != nil {
			return
		}
		sent += int64(n)
	}
}

// list gets a list of so many bytes.
func (p *process) list(size int64) {
	response, err := p.user.client.Do(p.user.request(http.MethodGet, "/list?bytes="+strconv.FormatInt(size, 10), nil))
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	if n, err := io.Copy(io.Discard, response.Body); n != size || err != nil {
		p.t.Fatalf("%d bytes of %d, %v", n, size, err)
	}
}

// upload sends so many bytes.
func (p *process) upload(size int64) {
	response, err := p.user.client.Do(p.user.request(http.MethodPost, "/upload", struct{ io.Reader }{io.LimitReader(endless{}, size)}))
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	if raw, err := io.ReadAll(response.Body); string(raw) != strconv.FormatInt(size, 10) {
		p.t.Fatalf("%s of %d, %v", raw, size, err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for n := 0; n < len(p); {
		n += copy(p[n:], block)
	}
	return len(p), nil
}

// inProcess skips where the memory of a process says nothing.
func inProcess(t testing.TB) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the memory of a process is read from /proc")
	}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector takes memory of its own")
	}
}

// TestLargeBodiesTakeNoMemory: bodies are streamed by the agent, whatever their size. BenchmarkLargeBodies has those of bar B14.
func TestLargeBodiesTakeNoMemory(t *testing.T) {
	inProcess(t)
	p := startProcess(t, bodies{})
	for name, do := range map[string]func(){
		"list of 200 MB":   func() { p.list(200e6) },
		"upload of 200 MB": func() { p.upload(200e6) },
	} {
		grown := p.growth(do)
		t.Logf("%s: the agent's memory grows by %.1f MiB, to %.1f MiB", name, float64(grown)/(1<<20), float64(p.rss("VmHWM"))/(1<<20))
		if grown > mostGrowth {
			t.Errorf("%s: it grows by %d bytes", name, grown)
		}
	}
}

// BenchmarkLargeBodies is bar B14: go test -run - -bench LargeBodies -benchtime 1x ./internal/gateway
func BenchmarkLargeBodies(b *testing.B) {
	inProcess(b)
	for _, bm := range []struct {
		name string
		size int64
		do   func(*process, int64)
	}{
		{"list=200MB", 200e6, (*process).list},
		{"upload=2GB", 2e9, (*process).upload},
	} {
		b.Run(bm.name, func(b *testing.B) {
			p := startProcess(b, bodies{})
			b.SetBytes(bm.size)
			most := int64(0)
			for b.Loop() {
				most = max(most, p.growth(func() { bm.do(p, bm.size) }))
			}
			b.ReportMetric(float64(most)/(1<<20), "MiB-grown")
			b.ReportMetric(float64(p.rss("VmHWM"))/(1<<20), "MiB-at-most")
			if most > mostGrowth {
				b.Errorf("the agent's memory grows by %d bytes", most)
			}
		})
	}
}
