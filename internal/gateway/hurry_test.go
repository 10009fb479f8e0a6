package gateway

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// TestSlowStrangers: who has no token cannot hold a connection by sending a body slowly, also where it is refused before it was read.
func TestSlowStrangers(t *testing.T) {
	g, ids, _ := opened(t)
	for name, c := range map[string]struct {
		path string
		most time.Duration
	}{
		"enrol":              {wire.PathEnroll, strangerTime + restTime},
		"join":               {wire.PathJoin, strangerTime + restTime},
		"events":             {wire.PathEvents, restTime},
		"leave":              {wire.PathLeave, restTime},
		"the Kubernetes API": {wire.PathClusters + "/shop/api", restTime},
		"pages":              {wire.PathProjects + "/shop/web/", restTime},
		"connections":        {wire.PathConnect + "/shop/tcp/svc/a/b/80", restTime},
		"another gateway's":  {wire.PathClusters + "/" + ids[1] + "/api", restTime},
	} {
		synctest.Test(t, func(t *testing.T) {
			listener := newHanded(&net.TCPAddr{})
			server := &http.Server{Handler: g.https(t.Context()), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
			served := make(chan error, 1)
			go func() { served <- server.Serve(listener) }()
			here, there := net.Pipe()
			listener.conns <- there
			began := time.Now()
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				_, _ = fmt.Fprintf(here, "POST %s HTTP/1.1\r\nHost: g\r\nContent-Length: 200000\r\n\r\n", c.path)
				for { // a byte each second, for as long as it is taken
					if _, err := io.WriteString(here, "{"); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}()
			answer, _ := io.ReadAll(here) // and the end of the connection
			if took := time.Since(began); took > c.most+time.Second {
				t.Errorf("%s: the connection was held for %s", name, took)
			}
			if !strings.HasPrefix(string(answer), "HTTP/1.1 4") {
				t.Errorf("%s: %q", name, answer)
			}
			_ = here.Close()
			<-sent
			_ = server.Close()
			_ = listener.Close()
			<-served
		})
	}
}
