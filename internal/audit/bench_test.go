package audit

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
)

// BenchmarkServe is what a record costs a request, beside a handler that does nothing: take the best of several runs. BenchmarkAudit of
// package gateway has it beside a whole request.
func BenchmarkServe(b *testing.B) {
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := Of(r.Context()).Admit(r.Context()); err != nil {
			b.Error(err)
		}
		w.WriteHeader(http.StatusNoContent)
	})
	e := Event{
		ID: "4bf92f3577b34da6a3ce929d0e0e4736", Trace: "4bf92f3577b34da6a3ce929d0e0e4736", User: "pipeops:alice", Groups: []string{"pipeops:admins"}, Role: "admin",
		Remote: "192.0.2.1:40000", Agent: "kubectl/v1.33.2 (linux/amd64) kubernetes/abcdef0", Cluster: "shop", Machine: "0123456789abcdef", Method: "GET", Verb: "get",
		Resource: "pods", Namespace: "shop", Name: "web-0", Path: "/api/v1/namespaces/shop/pods/web-0",
	}
	for _, mode := range []struct {
		name     string
		on, wait bool
	}{{"off", false, false}, {"on", true, false}, {"required", true, true}} {
		b.Run(mode.name, func(b *testing.B) {
			var l *Log
			if mode.on {
				var err error
				if l, err = Open(Options{Dir: filepath.Join(b.TempDir(), "audit"), Required: mode.wait}); err != nil {
					b.Fatal(err)
				}
				defer func() { _ = l.Close() }()
			}
			r := httptest.NewRequest(http.MethodGet, e.Path, nil)
			b.ReportAllocs()
			for b.Loop() {
				l.Serve(httptest.NewRecorder(), r, e, next)
			}
		})
	}
}
