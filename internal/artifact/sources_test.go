package artifact

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/pipeopshq/pipeops-agent/internal/proxy"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sources adds mirrors to that of the fixture, which is the first one.
func (x *fixture) sources(more ...http.Handler) *fixture {
	x.f.Client = NewClient(proxy.Proxy{})
	x.t.Cleanup(x.f.Client.CloseIdleConnections)
	for _, m := range more {
		srv := httptest.NewServer(m)
		x.t.Cleanup(srv.Close)
		x.d.URLs = append(x.d.URLs, srv.URL+"/k3s")
	}
	return x
}

func (x *fixture) good() *mirror { return &mirror{content: x.content} }

// handler serves a function.
type handler = http.HandlerFunc

const mb = 1 << 20

func TestAnotherSourceTakesOver(t *testing.T) {
	for name, c := range map[string]struct {
		first  func(*mirror)
		silent bool // the first one takes the request and says nothing
		from   int64
		asked  int64 // how often the first one is
	}{
		"not there":         {first: func(m *mirror) { m.status = func(int64) int { return 404 } }, asked: 1},
		"out of order":      {first: func(m *mirror) { m.status = func(int64) int { return 503 } }, asked: 1},
		"cut":               {first: func(m *mirror) { m.cutAfter = 300_000 }, from: 300_000, asked: 1},
		"stalls":            {first: func(m *mirror) { m.cutAfter, m.hold = 300_000, true }, from: 300_000, asked: 1},
		"says nothing":      {silent: true, asked: 1},
		"cut before a byte": {first: func(m *mirror) { m.status = func(int64) int { panic(http.ErrAbortHandler) } }, asked: 1},
	} {
		t.Run(name, func(t *testing.T) {
			x := setup(t, mb)
			second := x.good()
			x.sources(second)
			x.f.Stall, x.f.Stagger = 300*time.Millisecond, time.Hour
			if c.silent {
				x.f.Stall, x.f.Stagger = time.Hour, 20*time.Millisecond
				release := make(chan struct{})
				x.mirror.status = func(int64) int { <-release; return 404 }
				defer close(release)
			} else {
				c.first(x.mirror)
			}
			if err := x.fetch(); err != nil {
				t.Fatal(err)
			}
			x.ok()
			if n := x.requests.Load(); n != c.asked {
				t.Errorf("the first source was asked %d times", n)
			}
			if got := second.sent.Load(); got != mb-c.from {
				t.Errorf("the second source sent %d bytes, %d were missing", got, mb-c.from)
			}
		})
	}
}

func TestTheFirstSourceServesAlone(t *testing.T) {
	x := setup(t, mb)
	second := x.good()
	x.sources(second)
	x.f.Stagger = time.Hour
	if err := x.fetch(); err != nil {
		t.Fatal(err)
	}
	x.ok()
	if second.requests.Load() != 0 {
		t.Error("the second source was asked")
	}
}

func TestNoSourceIsOfUse(t *testing.T) {
	x := setup(t, 5000)
	x.status = func(int64) int { return 404 }
	x.sources(handler(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }), &mirror{content: x.content, status: func(int64) int { return 502 }})
	err := x.fetch()
	x.code(err, reason.DownloadFailed)
	for i, status := range []string{"404", "403", "502"} {
		if !strings.Contains(err.Error(), x.d.URLs[i]) || !strings.Contains(err.Error(), status) {
			t.Errorf("the error does not tell of %s: %v", x.d.URLs[i], err)
		}
	}
	if n := x.requests.Load(); n != 1 {
		t.Errorf("a source without the file was asked %d times", n)
	}
}

func TestSwappedMirror(t *testing.T) {
	swapped := bytes.Repeat([]byte("swapped!"), mb/8)
	t.Run("another source is left", func(t *testing.T) {
		x := setup(t, mb)
		good, content := x.good(), x.content
		x.mirror.content = swapped
		x.sources(good)
		x.f.Stagger = time.Hour
		if err := x.fetch(); err != nil {
			t.Fatal(err)
		}
		x.content = content
		x.ok()
		if good.sent.Load() != mb {
			t.Errorf("the good source sent %d bytes", good.sent.Load())
		}
	})
	t.Run("none is left", func(t *testing.T) {
		x := setup(t, mb)
		x.mirror.content = swapped
		x.sources(&mirror{content: swapped}, handler(http.NotFound))
		err := x.fetch()
		x.code(err, reason.DownloadDigest)
		for _, u := range x.d.URLs {
			if !strings.Contains(err.Error(), u) {
				t.Errorf("%s is not named: %v", u, err)
			}
		}
		if !strings.Contains(err.Error(), x.d.URLs[1]+" has SHA-256 "+sum(swapped)) {
			t.Errorf("err = %v", err)
		}
		if _, err := os.Stat(x.d.part()); !os.IsNotExist(err) {
			t.Errorf("the part is kept: %v", err)
		}
	})
	t.Run("it began what another one continued", func(t *testing.T) {
		x := setup(t, mb)
		good, content := x.good(), x.content
		x.mirror.content, x.mirror.cutAfter = swapped, 300_000
		x.sources(good)
		x.f.Stagger = time.Hour
		if err := x.fetch(); err != nil {
			t.Fatal(err)
		}
		x.content = content
		x.ok()
	})
	t.Run("it continued what a bad run left", func(t *testing.T) {
		x := setup(t, mb)
		content := x.content
		x.part(swapped[:300_000])
		x.mirror.content = swapped
		x.sources(&mirror{content: content})
		if err := x.fetch(); err != nil {
			t.Fatal(err)
		}
		x.content = content
		x.ok()
	})
}

// A mirror that answers at once, gives a few wrong bytes and then no more must not keep the others from being tried.
func TestSourceThatSpoilsEveryStart(t *testing.T) {
	for name, late := range map[string]time.Duration{"the good one is quick": 0, "the good one is slow to answer": 200 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			x := setup(t, mb)
			x.d.Bytes = mb
			good, content := x.good(), x.content
			x.mirror.content, x.mirror.cutAfter = bytes.Repeat([]byte("swapped!"), mb/8), 10_000
			good.status = func(int64) int { time.Sleep(late); return 0 }
			x.sources(good)
			x.f.Stagger = 100 * time.Millisecond
			if err := x.fetch(); err != nil {
				t.Fatal(err)
			}
			x.content = content
			x.ok()
		})
	}
}

// What a mirror or a proxy says beside the number of its status is not shown: it may hold what a terminal obeys.
func TestStatusIsTold(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			_, _ = bufio.NewReader(conn).ReadString('\n')
			_, _ = io.WriteString(conn, "HTTP/1.1 404 \x1b]0;gone\a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			conn.Close()
		}
	}()
	address := "http://" + server.Addr().String()
	for name, c := range map[string]struct {
		through proxy.Proxy
		url     string
	}{
		"mirror": {url: address + "/k3s"},
		"proxy":  {proxy.Proxy{HTTPS: address}, "https://mirror.test/k3s"},
	} {
		f := &Fetcher{Client: NewClient(c.through)}
		err := f.Fetch(t.Context(), Download{URLs: []string{c.url}, SHA256: sum(nil), Dir: t.TempDir()}, nil)
		if err == nil || strings.ContainsRune(err.Error(), 0x1b) || !strings.Contains(err.Error(), "404 Not Found") {
			t.Errorf("%s: %q", name, err)
		}
		f.Client.CloseIdleConnections()
	}
}

func TestSizeIsKnown(t *testing.T) {
	chunked := func(body []byte) handler {
		return func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush() // no length
			_, _ = w.Write(body)
		}
	}
	x := setup(t, mb)
	content := x.content
	longer, shorter := append(bytes.Clone(content), "more"...), content[:mb-5]
	for name, c := range map[string]struct {
		source http.Handler
		want   reason.Code
		says   string
	}{
		"longer":          {&mirror{content: longer}, reason.DownloadDigest, "has 1048580 bytes, the release says 1048576"},
		"shorter":         {&mirror{content: shorter}, reason.DownloadTruncated, "has only 1048571 of the 1048576 bytes"},
		"longer, untold":  {chunked(longer), reason.DownloadDigest, "gives more than the 1048576 bytes"},
		"shorter, untold": {chunked(shorter), reason.DownloadTruncated, "cut at byte 1048571 of 1048576"},
		"right, untold":   {source: chunked(content)},
	} {
		t.Run(name, func(t *testing.T) {
			x := setup(t, 0)
			x.content, x.d.SHA256, x.d.Bytes = content, sum(content), mb
			x.d.URLs = nil
			x.sources(c.source)
			err := x.fetch()
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				x.ok()
				return
			}
			x.code(err, c.want)
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), x.d.URLs[0]) {
				t.Errorf("err = %v, want %q", err, c.says)
			}
			x.sources(&mirror{content: content})
			if err := x.fetch(); err != nil {
				t.Errorf("with a good source besides: %v", err)
			}
			x.ok()
		})
	}
	t.Run("a part of the whole size needs no network", func(t *testing.T) {
		x := setup(t, mb)
		x.d.Bytes = mb
		x.part(x.content)
		if err := x.fetch(); err != nil || x.requests.Load() != 0 {
			t.Errorf("%v, %d requests", err, x.requests.Load())
		}
		x.ok()
	})
	t.Run("space", func(t *testing.T) {
		x := setup(t, mb)
		x.d.Bytes = mb
		x.f.Free = func(string) (int64, uint64, error) { return mb + reserve - 1, 1, nil }
		x.code(x.fetch(), reason.DownloadNoSpace)
		if x.requests.Load() != 0 {
			t.Error("a source was asked although there is no space")
		}
		x.part(x.content[:10])
		if err := x.fetch(); err != nil {
			t.Errorf("with less missing: %v", err)
		}
	})
}

func TestSourceWithoutRangesIsTheLastChoice(t *testing.T) {
	x := setup(t, mb)
	x.part(x.content[:mb-1000])
	x.noRange = true
	second := x.good()
	x.sources(second)
	if err := x.fetch(); err != nil {
		t.Fatal(err)
	}
	x.ok()
	if second.sent.Load() != 1000 {
		t.Errorf("the source with ranges sent %d bytes", second.sent.Load())
	}
}

func TestLongerPartThanOneSourceHas(t *testing.T) {
	x := setup(t, mb)
	x.part(x.content[:mb-1000])
	second := x.good()
	x.sources(second)
	x.mirror.content = x.content[:1000] // of another release
	if err := x.fetch(); err != nil {
		t.Fatal(err)
	}
	if got := second.sent.Load(); got != 1000 {
		t.Errorf("the other source sent %d bytes for the missing 1000", got)
	}
}

func TestCancelled(t *testing.T) {
	x := setup(t, mb)
	release := make(chan struct{})
	defer close(release)
	asked := make(chan struct{}, 3)
	silent := handler(func(http.ResponseWriter, *http.Request) { asked <- struct{}{}; <-release })
	x.d.URLs = nil
	x.sources(silent, silent, silent)
	x.f.Stagger = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for range 3 {
			<-asked
		}
		cancel()
	}()
	if err := x.f.Fetch(ctx, x.d, nil); err == nil || ctx.Err() == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Errorf("err = %v", err)
	}
}

func TestBadDownloads(t *testing.T) {
	many := make([]string, maxSources+1)
	for name, d := range map[string]Download{
		"no source":    {SHA256: sum(nil)},
		"many sources": {SHA256: sum(nil), URLs: many},
		"no digest":    {URLs: []string{"http://mirror.test"}},
		"huge":         {URLs: []string{"http://mirror.test"}, SHA256: sum(nil), Bytes: maxSize + 1},
	} {
		d.Dir = t.TempDir()
		if err := (&Fetcher{}).Fetch(t.Context(), d, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// hosts answers for some hosts and says nothing for others.
type hosts map[string][]byte

func (h hosts) RoundTrip(r *http.Request) (*http.Response, error) {
	content, ok := h[r.URL.Host]
	if !ok {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: http.StatusOK, ContentLength: int64(len(content)), Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(content))}, nil
}

func TestSilentMirrorHoldsNothingUp(t *testing.T) {
	dir, key, now := t.TempDir(), newSigner(t), time.Now() // the clock of a bubble is one of 2000
	signed := numbered(t, 7, key)
	synctest.Test(t, func(t *testing.T) {
		content := bytes.Repeat([]byte("x"), mb)
		f := &Fetcher{Client: &http.Client{Transport: hosts{"good": signed, "files": content}}}
		m := &Manifests{Trust: trustIn(1, key), Mirrors: []string{"https://silent", "https://good"}, Dir: dir + "/manifest", Now: func() time.Time { return now }}
		start := time.Now()
		if got, err := m.Fetch(t.Context(), f); err != nil || got.Serial != 7 {
			t.Errorf("serial %d, %v", got.Serial, err)
		}
		if took := time.Since(start); took != latecomers {
			t.Errorf("the manifest took %v", took)
		}
		start = time.Now()
		d := Download{URLs: []string{"https://silent/a", "https://quiet/a", "https://files/a"}, SHA256: sum(content), Bytes: mb, Dir: dir}
		if err := f.Fetch(t.Context(), d, nil); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 2*defaultStagger {
			t.Errorf("the file took %v", took)
		}
	})
}

// slow answers as hosts do, ten seconds later.
type slow struct{ hosts }

func (s slow) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == "slow" {
		select {
		case <-r.Context().Done():
			return nil, r.Context().Err()
		case <-time.After(10 * time.Second):
		}
	}
	return s.hosts.RoundTrip(r)
}

// A mirror that is quick with something that nobody may use does not cut the others short.
func TestUselessManifestHurriesNobody(t *testing.T) {
	dir, key, now := t.TempDir(), newSigner(t), time.Now()
	for name, quick := range map[string][]byte{"nonsense": []byte("<html>"), "signed by a stranger": numbered(t, 9, newSigner(t))} {
		signed := numbered(t, 7, key)
		synctest.Test(t, func(t *testing.T) {
			f := &Fetcher{Client: &http.Client{Transport: slow{hosts{"slow": signed, "quick": quick}}}}
			m := &Manifests{Trust: trustIn(1, key), Mirrors: []string{"https://quick", "https://slow"}, Dir: dir + "/" + name, Now: func() time.Time { return now }}
			if got, err := m.Fetch(t.Context(), f); err != nil || got.Serial != 7 {
				t.Errorf("%s: serial %d, %v", name, got.Serial, err)
			}
		})
	}
}
