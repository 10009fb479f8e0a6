package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path"
	"sync"
	"time"
)

// Fault is something that goes wrong with a download.
type Fault struct {
	Pattern string        // of the paths it concerns, as [path.Match] has it: "/k3s", "/images/*"
	Status  int           // answer this status and no file; 0 means the file
	Wrong   bool          // change the first byte of the answer's body
	Cut     int64         // close the connection after so many bytes of body; 0 means never
	Delay   time.Duration // wait before the first byte
	Rate    int64         // bytes per second; 0 means all at once
	Times   int           // go away after so many requests; 0 means stay
}

// Server serves a folder to the machines, as a mirror or release page does, with faults on request. Range requests work.
type Server struct {
	files    http.Handler
	listener net.Listener
	server   http.Server
	done     chan error

	mu       sync.Mutex
	faults   []Fault
	requests map[string]int
	bytes    map[string]int64
}

// Serve starts a server of the folder on the address: HostAddress + ":0" for machines, "127.0.0.1:0" for this side.
func Serve(ctx context.Context, address, dir string) (*Server, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot serve %s: %w", dir, err)
	}
	s := &Server{
		files:    http.FileServer(http.Dir(dir)),
		listener: listener,
		done:     make(chan error, 1),
		requests: map[string]int{},
		bytes:    map[string]int64{},
	}
	s.server = http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 10 * time.Second}
	go func() { s.done <- s.server.Serve(listener) }()
	return s, nil
}

// URL returns the address of the folder, by the name under which machines know this side where that fits.
func (s *Server) URL() string {
	host, port, _ := net.SplitHostPort(s.listener.Addr().String())
	if host == HostAddress {
		host = HostName
	}
	return "http://" + net.JoinHostPort(host, port)
}

// Close stops the server and cuts what it is still sending.
func (s *Server) Close() error {
	err := s.server.Close()
	if e := <-s.done; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// Inject adds a fault. The first one that matches a request has its way.
func (s *Server) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, f)
}

// Mend removes all faults.
func (s *Server) Mend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Sent returns how often a path was asked for and how many bytes of body went out for it in all.
func (s *Server) Sent(urlPath string) (requests int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[urlPath], s.bytes[urlPath]
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	fault := s.begin(r.URL.Path)
	if !sleep(r.Context(), fault.Delay) {
		panic(http.ErrAbortHandler)
	}
	if fault.Status != 0 {
		http.Error(w, http.StatusText(fault.Status), fault.Status)
		return
	}
	s.files.ServeHTTP(&faultyWriter{ResponseWriter: w, ctx: r.Context(), fault: fault, sent: func(n int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.bytes[r.URL.Path] += int64(n)
	}}, r)
}

// begin counts a request and returns its fault, the zero Fault if there is none.
func (s *Server) begin(urlPath string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[urlPath]++
	for i, f := range s.faults {
		if ok, _ := path.Match(f.Pattern, urlPath); !ok {
			continue
		}
		switch {
		case f.Times == 1:
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
		case f.Times > 1:
			s.faults[i].Times--
		}
		return f
	}
	return Fault{}
}

// faultyWriter passes a body on as its fault wants it.
type faultyWriter struct {
	http.ResponseWriter
	ctx   context.Context // of the one request that the writer lives for
	fault Fault
	body  int64
	sent  func(bytes int)
}

// piece is how much is written between two looks at the rate.
const piece = 16 << 10

func (w *faultyWriter) Write(p []byte) (int, error) {
	if w.fault == (Fault{}) {
		w.sent(len(p)) // before: who has read the last byte finds it counted
		return w.ResponseWriter.Write(p)
	}
	for done := 0; done < len(p); {
		chunk := p[done:min(len(p), done+piece)]
		if w.fault.Cut > 0 {
			if w.body >= w.fault.Cut {
				_ = http.NewResponseController(w.ResponseWriter).Flush()
				panic(http.ErrAbortHandler) // closes the connection
			}
			chunk = chunk[:min(int64(len(chunk)), w.fault.Cut-w.body)]
		}
		if w.fault.Wrong && w.body == 0 {
			chunk = append([]byte{chunk[0] ^ 0xff}, chunk[1:]...)
		}
		w.sent(len(chunk))
		n, err := w.ResponseWriter.Write(chunk)
		w.body += int64(n)
		done += n
		if err != nil {
			return done, err
		}
		if w.fault.Rate > 0 {
			_ = http.NewResponseController(w.ResponseWriter).Flush()
			if !sleep(w.ctx, time.Duration(n)*time.Second/time.Duration(w.fault.Rate)) {
				return done, w.ctx.Err()
			}
		}
	}
	return len(p), nil
}

// sleep waits and reports whether the whole time passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
