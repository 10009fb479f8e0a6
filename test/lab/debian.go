package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Debian gives machines, which have no way to the internet, Debian's package archive: a small HTTP proxy for apt, as networks
// without a way out have one. Packages are kept in the folder of the lab; other files are fetched anew each time.
type Debian struct {
	dir      string
	listener net.Listener
	server   http.Server
	done     chan error
	client   http.Client
}

// debianHosts are the only ones that the proxy passes requests on to.
func debianHosts() []string { return []string{"deb.debian.org", "security.debian.org"} }

// maxPackage bounds one file of the archive, in bytes: the largest that a machine asks for, the list of packages, has 60 MB unpacked.
const maxPackage = 256 << 20

// ServeDebian starts the proxy on a free port of the bridge.
func (l *Lab) ServeDebian(ctx context.Context) (*Debian, error) {
	if err := l.EnsureNetwork(ctx); err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", HostAddress+":0")
	if err != nil {
		return nil, fmt.Errorf("cannot serve Debian's archive: %w", err)
	}
	d := &Debian{
		dir: filepath.Join(l.Dir, "debian"), listener: listener, done: make(chan error, 1),
		client: http.Client{Timeout: 5 * time.Minute, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: 30 * time.Second}},
	}
	d.server = http.Server{Handler: d, ReadHeaderTimeout: 10 * time.Second}
	go func() { d.done <- d.server.Serve(listener) }()
	return d, nil
}

// Close stops the proxy.
func (d *Debian) Close() error {
	err := d.server.Close()
	if e := <-d.done; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	d.client.CloseIdleConnections()
	return err
}

// Use tells the apt of a machine of the proxy, and prepares the machine for what may be installed: Docker.
func (d *Debian) Use(m *Machine) error {
	const file = "/etc/apt/apt.conf.d/90lab"
	text := fmt.Sprintf("Acquire::http::Proxy \"http://%s\";\nAcquire::Languages \"none\";\n", d.listener.Addr())
	if err := m.PushBytes([]byte(text), file, 0o644); err != nil {
		return err
	}
	return m.PrepareDocker()
}

func (d *Debian) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || r.URL.Scheme != "http" || !slices.Contains(debianHosts(), r.URL.Host) {
		http.Error(w, "this proxy only gets what Debian's archive has", http.StatusForbidden)
		return
	}
	if !keeps(r.URL.Path) {
		d.pass(w, r)
		return
	}
	file := filepath.Join(d.dir, filepath.Base(r.URL.Path))
	if _, err := os.Stat(file); err != nil {
		if err := d.fetch(r.Context(), r.URL.String(), file); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
	}
	http.ServeFile(w, r, file)
}

// keeps reports whether a file of the archive never changes: packages have their version in their name.
func keeps(path string) bool {
	return strings.HasSuffix(path, ".deb") && strings.Contains(path, "/pool/") && !strings.HasPrefix(filepath.Base(path), ".")
}

func (d *Debian) pass(w http.ResponseWriter, r *http.Request) {
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, r.URL.String(), http.NoBody)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, name := range []string{"If-Modified-Since", "If-Range", "Range", "Cache-Control", "Accept"} {
		for _, value := range r.Header.Values(name) {
			req.Header.Add(name, value)
		}
	}
	resp, err := d.client.Do(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	for _, name := range []string{"Content-Type", "Content-Length", "Content-Range", "Last-Modified", "Etag"} {
		if value := resp.Header.Get(name); value != "" {
			w.Header().Set(name, value)
		}
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, io.LimitReader(resp.Body, maxPackage)) // a client that has gone needs no answer
}

// fetch gets a file under its last name only when it is whole; apt checks its digest.
func (d *Debian) fetch(ctx context.Context, from, to string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("cannot get %s: %s", from, resp.Status)
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	part, err := os.CreateTemp(d.dir, ".part-")
	if err != nil {
		return err
	}
	defer os.Remove(part.Name())
	n, err := io.Copy(part, io.LimitReader(resp.Body, maxPackage))
	if err == nil && resp.ContentLength >= 0 && n != resp.ContentLength {
		err = fmt.Errorf("cannot get %s: %w", from, io.ErrUnexpectedEOF)
	}
	if err = errors.Join(err, part.Close()); err != nil {
		return err
	}
	return os.Rename(part.Name(), to)
}
