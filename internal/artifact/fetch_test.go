package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/proxy"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// mirror serves one content with faults.
type mirror struct {
	content  []byte
	noRange  bool                    // answers 200 to ranges
	cutAfter int                     // bytes of each answer, 0 for all
	hold     bool                    // waits for the client to leave where it would cut
	status   func(request int64) int // nil or 0: as it should be

	requests, sent atomic.Int64
}

func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := m.requests.Add(1)
	if m.status != nil {
		if code := m.status(n); code != 0 {
			w.WriteHeader(code)
			return
		}
	}
	from := 0
	if h := r.Header.Get("Range"); h != "" && !m.noRange {
		if _, err := fmt.Sscanf(h, "bytes=%d-", &from); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if from >= len(m.content) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", len(m.content)))
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(m.content)-1, len(m.content)))
	}
	body := m.content[from:]
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	if from > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	if m.cutAfter > 0 && m.cutAfter < len(body) {
		body = body[:m.cutAfter]
	}
	sent, _ := w.Write(body)
	m.sent.Add(int64(sent))
	if m.hold {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	if m.cutAfter > 0 {
		panic(http.ErrAbortHandler)
	}
}

type fixture struct {
	*mirror
	t *testing.T
	f *Fetcher
	d Download
}

func setup(t *testing.T, size int) *fixture {
	m := &mirror{content: make([]byte, size)}
	for i := range m.content {
		m.content[i] = byte(rand.Uint32())
	}
	srv := httptest.NewServer(m)
	t.Cleanup(srv.Close)
	return &fixture{
		mirror: m, t: t,
		f: &Fetcher{Client: srv.Client(), Pause: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }},
		d: Download{URLs: []string{srv.URL + "/k3s"}, SHA256: sum(m.content), Dir: filepath.Join(t.TempDir(), "artifacts")},
	}
}

func (x *fixture) fetch() error { return x.f.Fetch(x.t.Context(), x.d, nil) }

func (x *fixture) ok() {
	x.t.Helper()
	got, err := os.ReadFile(x.d.Path())
	if err != nil || !bytes.Equal(got, x.content) {
		x.t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := os.Stat(x.d.part()); !os.IsNotExist(err) {
		x.t.Errorf("a part is left: %v", err)
	}
	if st, err := os.Stat(x.d.Path()); err == nil && st.Mode().Perm() != 0o600 {
		x.t.Errorf("mode %v", st.Mode())
	}
}

// code wants an error of the given code and no finished file.
func (x *fixture) code(err error, want reason.Code) {
	x.t.Helper()
	if !reason.Is(err, want) || reason.Exit(err) != reason.ExitDownload {
		x.t.Errorf("err = %v, want %s", err, want)
	}
	if _, err := os.Stat(x.d.Path()); !os.IsNotExist(err) {
		x.t.Errorf("the file has its final name: %v", err)
	}
}

func TestFetch(t *testing.T) {
	x := setup(t, 3<<20)
	var last, total int64
	if err := x.f.Fetch(t.Context(), x.d, func(d, n int64) {
		if d < last {
			t.Errorf("progress goes back from %d to %d", last, d)
		}
		last, total = d, n
	}); err != nil {
		t.Fatal(err)
	}
	x.ok()
	if last != 3<<20 || total != 3<<20 {
		t.Errorf("progress ended at %d of %d", last, total)
	}
	if err := x.fetch(); err != nil || x.requests.Load() != 1 {
		t.Errorf("a second fetch: %v, %d requests", err, x.requests.Load())
	}
}

func TestCutDownloadIsResumed(t *testing.T) {
	x := setup(t, 1<<20)
	x.cutAfter = 100_000
	if err := x.fetch(); err != nil {
		t.Fatal(err)
	}
	x.ok()
	if x.sent.Load() != 1<<20 {
		t.Errorf("%d bytes were sent for %d", x.sent.Load(), 1<<20)
	}
}

func TestNextRunTransfersOnlyTheRest(t *testing.T) {
	x := setup(t, 1<<20)
	x.cutAfter, x.hold = 400_000, true
	ctx, cancel := context.WithCancel(t.Context())
	err := x.f.Fetch(ctx, x.d, func(done, _ int64) {
		if done > 300_000 {
			cancel()
		}
	})
	if err == nil || ctx.Err() == nil {
		t.Fatalf("err = %v", err)
	}
	st, err := os.Stat(x.d.part())
	if err != nil || st.Size() < 300_000 {
		t.Fatalf("no part is kept: %v", err)
	}
	x.mirror = &mirror{content: x.content}
	srv := httptest.NewServer(x.mirror)
	defer srv.Close()
	x.d.URLs = []string{srv.URL} // another mirror is as good
	if err := x.fetch(); err != nil {
		t.Fatal(err)
	}
	x.ok()
	if x.sent.Load() != 1<<20-st.Size() {
		t.Errorf("%d bytes were sent for the missing %d", x.sent.Load(), 1<<20-st.Size())
	}
}

func TestServerWithoutRanges(t *testing.T) {
	x := setup(t, 200_000)
	x.part(x.content[:100_000])
	x.noRange = true
	if err := x.fetch(); err != nil {
		t.Fatal(err)
	}
	x.ok()
}

func TestAlwaysCutAtTheSameByte(t *testing.T) {
	x := setup(t, 200_000)
	x.noRange, x.cutAfter = true, 150_000
	err := x.fetch()
	x.code(err, reason.DownloadTruncated)
	if !strings.Contains(err.Error(), "cut at byte 150000 of 200000") {
		t.Errorf("err = %v", err)
	}
	if n := x.requests.Load(); n != maxAttempts {
		t.Errorf("%d requests", n)
	}
}

func TestPartOfAnotherRelease(t *testing.T) {
	for name, old := range map[string][]byte{
		"shorter":  bytes.Repeat([]byte("x"), 1000),
		"complete": bytes.Repeat([]byte("x"), 5000),
		"longer":   bytes.Repeat([]byte("x"), 9000),
	} {
		x := setup(t, 5000)
		x.part(old)
		if err := x.fetch(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		x.ok()
	}
	x := setup(t, 5000)
	x.part(x.content) // complete, but the run was stopped before the file got its name
	if err := x.fetch(); err != nil {
		t.Error(err)
	}
	x.ok()
	if x.sent.Load() != 0 {
		t.Errorf("%d bytes were sent for nothing", x.sent.Load())
	}
}

func TestWrongDigest(t *testing.T) {
	x := setup(t, 5000)
	x.d.SHA256 = sum([]byte("something else"))
	x.code(x.fetch(), reason.DownloadDigest)
	if _, err := os.Stat(x.d.part()); !os.IsNotExist(err) {
		t.Errorf("the part is kept: %v", err)
	}
	if x.requests.Load() != 1 {
		t.Errorf("%d requests", x.requests.Load())
	}
}

func TestWrongLength(t *testing.T) {
	x := setup(t, 1<<20)
	x.d.Bytes = 1<<20 + 1
	x.code(x.fetch(), reason.DownloadTruncated)
	if _, err := os.Stat(x.d.part()); !os.IsNotExist(err) {
		t.Errorf("the part is kept: %v", err)
	}
	x.d.Bytes--
	x.part(x.content[:1000])
	if err := x.fetch(); err != nil {
		t.Fatal(err)
	}
	x.ok()
}

func TestStatus(t *testing.T) {
	for code, want := range map[int]int64{404: 1, 403: 1, 503: maxAttempts, 429: maxAttempts} {
		x := setup(t, 100)
		x.status = func(int64) int { return code }
		err := x.fetch()
		x.code(err, reason.DownloadFailed)
		if !strings.Contains(err.Error(), fmt.Sprint(code)) || !strings.Contains(err.Error(), x.d.URLs[0]) {
			t.Errorf("err = %v", err)
		}
		if n := x.requests.Load(); n != want {
			t.Errorf("%d: %d requests, want %d", code, n, want)
		}
	}
	x := setup(t, 100)
	x.status = func(n int64) int {
		if n < maxAttempts {
			return 502
		}
		return 0
	}
	if err := x.fetch(); err != nil {
		t.Error(err)
	}
	x.ok()
}

func TestRefusedConnection(t *testing.T) {
	x := setup(t, 100)
	x.d.URLs = []string{"http://127.0.0.1:1/k3s"}
	err := x.fetch()
	x.code(err, reason.DownloadFailed)
	if !strings.Contains(err.Error(), "refused") {
		t.Errorf("err = %v", err)
	}
}

func TestNoSpaceIsSeenBeforeTheFirstByte(t *testing.T) {
	for name, free := range map[string]func(string) (int64, uint64, error){
		"here": func(string) (int64, uint64, error) { return reserve + 4999, 1, nil },
		"there": func(dir string) (int64, uint64, error) {
			if dir == "/" {
				return reserve + 4999, 2, nil
			}
			return 1 << 40, 1, nil
		},
	} {
		x := setup(t, 5000)
		x.d.Dest = "/nonexistent/rancher"
		x.f.Free = free
		err := x.fetch()
		x.code(err, reason.DownloadNoSpace)
		if st, err := os.Stat(x.d.part()); err == nil && st.Size() > 0 {
			t.Errorf("%s: %d bytes were written", name, st.Size())
		}
	}
}

func TestRedirectToPlainHTTPIsRefused(t *testing.T) {
	x := setup(t, 100)
	tls := httptest.NewTLSServer(http.RedirectHandler(x.d.URLs[0], http.StatusFound))
	defer tls.Close()
	x.d.URLs = []string{tls.URL}
	x.f.Client = NewClient(proxy.Proxy{})
	x.f.Client.Transport = tls.Client().Transport
	err := x.fetch()
	x.code(err, reason.DownloadFailed)
	if !strings.Contains(err.Error(), "not https") || x.requests.Load() != 0 {
		t.Errorf("err = %v, %d requests", err, x.requests.Load())
	}
}

// silent is a transport whose answer brings a few bytes and then nothing.
type silent struct{ first string }

func (s *silent) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, ContentLength: 100, Header: http.Header{},
		Body: &silentBody{Reader: strings.NewReader(s.first), ctx: r.Context()},
	}, nil
}

type silentBody struct {
	*strings.Reader
	ctx context.Context
}

func (b *silentBody) Read(p []byte) (int, error) {
	if b.Len() > 0 {
		return b.Reader.Read(p)
	}
	<-b.ctx.Done()
	return 0, b.ctx.Err()
}

func (b *silentBody) Close() error { return nil }

func TestStalledConnection(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := &Fetcher{Client: &http.Client{Transport: &silent{first: "abc"}}}
		start := time.Now()
		err := f.Fetch(t.Context(), Download{URLs: []string{"http://mirror.test/k3s"}, SHA256: sum(nil), Dir: dir}, nil)
		if !reason.Is(err, reason.DownloadTruncated) || !strings.Contains(err.Error(), "less than 65536 bytes in 30s") {
			t.Errorf("err = %v", err)
		}
		if d := time.Since(start); d < maxAttempts*defaultStall || d > maxAttempts*defaultStall+time.Minute {
			t.Errorf("took %v", d)
		}
	})
}

func (x *fixture) part(content []byte) {
	x.t.Helper()
	if err := os.MkdirAll(x.d.Dir, 0o700); err != nil {
		x.t.Fatal(err)
	}
	if err := os.WriteFile(x.d.part(), content, 0o600); err != nil {
		x.t.Fatal(err)
	}
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

func TestMirrorThatGivesAFewBytesAtATime(t *testing.T) {
	x := setup(t, 1<<20)
	x.cutAfter = 10_000
	x.code(x.fetch(), reason.DownloadTruncated)
	if n := x.requests.Load(); n != maxAttempts {
		t.Errorf("%d requests", n)
	}
}
