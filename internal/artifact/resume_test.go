package artifact

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/proxy"
)

// big is the size of the file of the bar "resume of a cut 80 MB download transfers only the rest".
const big = 80 << 20

// counter serves a large file and counts the bytes of the bodies that it writes. After cut bytes, in all answers together,
// it cuts the connection, once.
type counter struct {
	content *pattern
	cut     int64 // 0: never
	pace    time.Duration

	sent, asked atomic.Int64
	done        atomic.Bool // it has cut
}

// pattern is a large file that is made as it is read: a block, over and over.
type pattern struct{ size int64 }

func (p *pattern) ReadAt(b []byte, off int64) (n int, err error) {
	block := strings.Repeat("a block of the file that is downloaded", 1723) // no power of two: no two places of a page are the same
	b = b[:max(0, min(int64(len(b)), p.size-off))]
	for n < len(b) {
		n += copy(b[n:], block[(off+int64(n))%int64(len(block)):])
	}
	if off+int64(n) == p.size {
		err = io.EOF
	}
	return n, err
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.asked.Add(1)
	http.ServeContent(&counted{w, c}, r, "", time.Time{}, io.NewSectionReader(c.content, 0, c.content.size))
}

type counted struct {
	http.ResponseWriter
	c *counter
}

func (w *counted) Write(b []byte) (int, error) {
	if left := w.c.cut - w.c.sent.Load(); w.c.cut > 0 && left < int64(len(b)) && w.c.done.CompareAndSwap(false, true) {
		n, _ := w.ResponseWriter.Write(b[:left])
		w.c.sent.Add(int64(n))
		panic(http.ErrAbortHandler)
	}
	n, err := w.ResponseWriter.Write(b)
	w.c.sent.Add(int64(n))
	if w.c.pace > 0 {
		time.Sleep(w.c.pace) // a slow line, so that there is a middle in which to be killed
	}
	return n, err
}

func bigDigest() string {
	h := sha256.New()
	_, _ = io.Copy(h, io.NewSectionReader(&pattern{big}, 0, big))
	return hex.EncodeToString(h.Sum(nil))
}

func serve(t *testing.T, c *counter) string {
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)
	return srv.URL + "/k3s"
}

func TestResumeTransfersOnlyTheRest(t *testing.T) {
	digest := bigDigest()
	for name, c := range map[string]struct{ first, second *counter }{
		"of the same source":     {first: &counter{content: &pattern{big}, cut: 50 << 20}},
		"of another source":      {&counter{content: &pattern{big}, cut: 50 << 20}, &counter{content: &pattern{big}}},
		"to and fro between two": {&counter{content: &pattern{big}, cut: 50 << 20}, &counter{content: &pattern{big}, cut: 20 << 20}},
	} {
		t.Run(name, func(t *testing.T) {
			d := Download{URLs: []string{serve(t, c.first)}, SHA256: digest, Bytes: big, Dir: t.TempDir()}
			sent := func() int64 { return c.first.sent.Load() }
			if c.second != nil {
				d.URLs = append(d.URLs, serve(t, c.second))
				sent = func() int64 { return c.first.sent.Load() + c.second.sent.Load() }
			}
			f := &Fetcher{Client: NewClient(proxy.Proxy{}), Stagger: time.Hour}
			defer f.Client.CloseIdleConnections()
			if err := f.Fetch(t.Context(), d, nil); err != nil {
				t.Fatal(err)
			}
			if sent() != big {
				t.Errorf("%d bytes were sent for a file of %d", sent(), big)
			}
			if got, err := fileDigest(d.Path()); err != nil || got != digest {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
}

// TestKilledRun kills a process in the middle of its download, and has the next one, with another source, go on.
func TestKilledRun(t *testing.T) {
	if url := os.Getenv("ARTIFACT_TEST_URL"); url != "" { // the process that is killed
		d := Download{URLs: []string{url}, SHA256: os.Getenv("ARTIFACT_TEST_SHA256"), Dir: os.Getenv("ARTIFACT_TEST_DIR")}
		fmt.Println(new(Fetcher).Fetch(t.Context(), d, nil))
		return
	}
	digest := bigDigest()
	slow, rest := &counter{content: &pattern{big}, pace: 2 * time.Millisecond}, &counter{content: &pattern{big}}
	d := Download{URLs: []string{serve(t, slow)}, SHA256: digest, Dir: t.TempDir()}
	var size int64
	for kill := range 2 {
		process, err := os.StartProcess(os.Args[0], []string{os.Args[0], "-test.run=^TestKilledRun$"}, &os.ProcAttr{
			Env:   append(os.Environ(), "ARTIFACT_TEST_URL="+d.URLs[0], "ARTIFACT_TEST_SHA256="+digest, "ARTIFACT_TEST_DIR="+d.Dir),
			Files: []*os.File{nil, os.Stderr, os.Stderr},
		})
		if err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(30 * time.Second); ; {
			if st, err := os.Stat(d.part()); err == nil && st.Size() > int64(kill+1)*(10<<20) {
				break
			}
			if time.Now().After(end) {
				t.Fatal("the download does not get on")
			}
			time.Sleep(time.Millisecond)
		}
		if err := process.Kill(); err != nil {
			t.Fatal(err)
		}
		if _, err := process.Wait(); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(d.part())
		if err != nil {
			t.Fatal(err)
		}
		size = st.Size()
	}
	if n := slow.asked.Load(); n != 2 {
		t.Errorf("%d requests of 2 runs", n)
	}
	d.URLs, d.Bytes = []string{serve(t, rest)}, big
	f := &Fetcher{Client: NewClient(proxy.Proxy{})}
	defer f.Client.CloseIdleConnections()
	if err := f.Fetch(t.Context(), d, nil); err != nil {
		t.Fatal(err)
	}
	if rest.sent.Load() != big-size {
		t.Errorf("%d bytes were sent for the missing %d", rest.sent.Load(), big-size)
	}
	if got, err := fileDigest(d.Path()); err != nil || got != digest {
		t.Errorf("%s, %v", got, err)
	}
	if left, _ := filepath.Glob(d.Dir + "/*"); len(left) != 1 || !strings.HasSuffix(left[0], digest) {
		t.Errorf("left: %v", left)
	}
}

func fileDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}
