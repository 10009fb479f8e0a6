package artifact

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func TestURL(t *testing.T) {
	r := &Release{Version: "v1.33.2+k3s1", Arch: "arm64"}
	if got, want := r.URL(r.Binary()), "https://github.com/k3s-io/k3s/releases/download/v1.33.2%2Bk3s1/k3s-arm64"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	r = &Release{Base: "http://mirror.test/k3s/", Version: "v1.33.2+k3s1", Arch: "amd64"}
	if got, want := r.URL(r.Images()), "http://mirror.test/k3s/download/v1.33.2%2Bk3s1/k3s-airgap-images-amd64.tar.zst"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestCheck(t *testing.T) {
	good := Release{Version: "v1.33.2+k3s1", Arch: "amd64"}
	for want, change := range map[reason.Code][]func(*Release){
		"":              {func(*Release) {}, func(r *Release) { r.Version = "v1.33.0-rc1+k3s1" }, func(r *Release) { r.Base = "http://10.0.0.1:8080/x" }},
		reason.HostArch: {func(r *Release) { r.Arch = "386" }},
		reason.Usage: {
			func(r *Release) { r.Version = "latest" }, func(r *Release) { r.Version = "v1.33.2+k3s1/../../x" },
			func(r *Release) { r.Base = "ftp://mirror.test" }, func(r *Release) { r.Base = "mirror.test" },
			func(r *Release) { r.Base = "https://user:pass@mirror.test" }, func(r *Release) { r.Base = "https://mirror.test/?a=" },
		},
	} {
		for i, f := range change {
			r := &Release{Version: good.Version, Arch: good.Arch}
			f(r)
			if err := r.Check(); (want == "") != (err == nil) || want != "" && !reason.Is(err, want) {
				t.Errorf("%q %d: %v", want, i, err)
			}
		}
	}
}

func TestDigestIsFetchedOnceAndKept(t *testing.T) {
	requests, body := 0, sum(nil)+"  k3s\n"
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		if r.URL.Path != "/download/v1.33.2+k3s1/sha256sum-amd64.txt" {
			t.Errorf("path %s", r.URL.Path)
		}
		_, _ = w.Write([]byte(body))
	}))
	defer srv.Close()
	f := &Fetcher{Pause: func(context.Context, time.Duration) error { return nil }}
	dir := t.TempDir()
	fresh := func(digest string) *Release {
		return &Release{Base: srv.URL, Version: "v1.33.2+k3s1", Arch: "amd64", Dir: dir, SumsDigest: digest}
	}
	if got := fresh("").Known("k3s"); got != "" {
		t.Errorf("known before it was fetched: %s", got)
	}
	if got, err := fresh("").Digest(t.Context(), f, "k3s"); err != nil || got != sum(nil) {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := fresh("").Digest(t.Context(), f, "k3s"); err != nil || got != sum(nil) || requests != 1 {
		t.Errorf("%s, %v, %d requests", got, err, requests)
	}
	if got := fresh("").Known("k3s"); got != sum(nil) {
		t.Errorf("known: %q", got)
	}
	if _, err := fresh("").Digest(t.Context(), f, "k3s-images"); !reason.Is(err, reason.DownloadFailed) {
		t.Errorf("a file that is not listed: %v", err)
	}
	if got, err := fresh(sum([]byte(body))).Digest(t.Context(), f, "k3s"); err != nil || got != sum(nil) {
		t.Errorf("pinned: %s, %v", got, err)
	}
	if _, err := fresh(sum([]byte("x"))).Digest(t.Context(), f, "k3s"); !reason.Is(err, reason.DownloadDigest) {
		t.Errorf("pinned to another list: %v", err)
	}
	r := fresh("")
	if err := r.Forget(); err != nil || r.Known("k3s") != "" {
		t.Errorf("not forgotten: %v", err)
	}
	body = "<html>captive portal</html>"
	if _, err := fresh("").Digest(t.Context(), f, "k3s"); !reason.Is(err, reason.DownloadFailed) || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("err = %v", err)
	}
}

func TestParseSums(t *testing.T) {
	a, b := strings.Repeat("a", 64), strings.Repeat("b", 64)
	sums, err := ParseSums([]byte(a + "  k3s\r\n\n" + b + " *k3s-airgap-images-amd64.tar.zst"))
	if err != nil || sums["k3s"] != a || sums["k3s-airgap-images-amd64.tar.zst"] != b || len(sums) != 2 {
		t.Errorf("%v, %v", sums, err)
	}
	for _, bad := range []string{"", "\n", a, a + " k3s", a[1:] + "  k3s", a + "  ../k3s", a + "  k3s\n" + b + "  k3s", a + "  .hidden"} {
		if sums, err := ParseSums([]byte(bad)); err == nil {
			t.Errorf("%q gives %v", bad, sums)
		}
	}
}

func FuzzParseSums(f *testing.F) {
	f.Add([]byte(strings.Repeat("a", 64) + "  k3s\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		sums, err := ParseSums(data)
		if (err == nil) != (len(sums) > 0) {
			t.Errorf("%v, %v", sums, err)
		}
		for name, sum := range sums {
			if strings.ContainsAny(name, "/\\\x00\n") || len(sum) != 64 {
				t.Errorf("%q: %q", name, sum)
			}
		}
	})
}
