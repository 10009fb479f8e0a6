package lab

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestServeFaults(t *testing.T) {
	defer goleak.VerifyNone(t)
	want := bytes.Repeat([]byte("pipeops."), 16<<10) // 128 KiB
	wrong := append([]byte{want[0] ^ 0xff}, want[1:]...)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "k3s"), want, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		fault  Fault
		status int
		body   []byte
		cut    bool
		atMin  time.Duration
	}{
		{"none", Fault{Pattern: "/other"}, 200, want, false, 0},
		{"status", Fault{Pattern: "/k*", Status: 404}, 404, []byte("Not Found\n"), false, 0},
		{"wrong", Fault{Pattern: "/k3s", Wrong: true}, 200, wrong, false, 0},
		{"cut", Fault{Pattern: "/k3s", Cut: 50000}, 200, want[:50000], true, 0},
		{"delay", Fault{Pattern: "/k3s", Delay: 50 * time.Millisecond}, 200, want, false, 50 * time.Millisecond},
		{"rate", Fault{Pattern: "/k3s", Rate: 1 << 20}, 200, want, false, 100 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Serve(t.Context(), "127.0.0.1:0", dir)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}()
			s.Inject(tt.fault)
			began := time.Now()
			status, body, err := get(t, s.URL()+"/k3s", "")
			if took := time.Since(began); took < tt.atMin {
				t.Errorf("took %s, want at least %s", took, tt.atMin)
			}
			if status != tt.status || !bytes.Equal(body, tt.body) || (err != nil) != tt.cut {
				t.Errorf("got status %d, %d bytes, error %v; want %d, %d bytes, an error: %v",
					status, len(body), err, tt.status, len(tt.body), tt.cut)
			}
			requests, sent := s.Sent("/k3s")
			if tt.status != 200 {
				tt.body = nil // what is no file does not count
			}
			if requests != 1 || sent != int64(len(tt.body)) {
				t.Errorf("counted %d requests, %d bytes; want 1, %d", requests, sent, len(tt.body))
			}
		})
	}
}

func TestServeFaultsGoAway(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Serve(t.Context(), "127.0.0.1:0", dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Inject(Fault{Pattern: "/f", Cut: 4, Times: 1})
	if _, body, err := get(t, s.URL()+"/f", ""); err == nil || string(body) != "0123" {
		t.Fatalf("got %q, %v; want a cut after 0123", body, err)
	}
	if status, body, err := get(t, s.URL()+"/f", "bytes=4-"); status != 206 || string(body) != "456789" || err != nil {
		t.Errorf("got %d, %q, %v; want the rest", status, body, err)
	}
	s.Inject(Fault{Pattern: "/f", Status: 500})
	s.Mend()
	if status, _, err := get(t, s.URL()+"/f", ""); status != 200 || err != nil {
		t.Errorf("after Mend: got %d, %v", status, err)
	}
}

func get(t *testing.T, url, byteRange string) (int, []byte, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if byteRange != "" {
		req.Header.Set("Range", byteRange)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}
