package baseline

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/host"
)

func TestObjects(t *testing.T) {
	dir, err := os.MkdirTemp("", "engine") // the path of a socket has at most 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "docker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string]string{
		"/version":               `{"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12"}`,
		"/v1.41/containers/json": `[{"Id":"1","Names":["/theirs"]},{"Id":"2","Names":["/k3d-pipeops-server-0"]}]`,
		"/v1.41/networks":        `[{"Name":"bridge"}]`,
		"/v1.41/volumes":         `{"Volumes":[{"Name":"data"}]}`,
		"/v1.41/images/json":     `[{"Id":"3","RepoTags":["theirs:1","theirs:2"]},{"Id":"4","RepoTags":null}]`,
	}
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(answers[r.URL.Path]))
	})}}
	srv.Start()
	defer srv.Close()
	d := host.Docker{Reachable: host.Is(true), Socket: socket}
	got, err := objects(t.Context(), d)
	want := []string{"container theirs", "container k3d-pipeops-server-0", "network bridge", "volume data", "image theirs:1", "image theirs:2"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := objects(t.Context(), host.Docker{Socket: socket}); err == nil {
		t.Error("an engine is asked that was not seen to answer")
	}
	before := Baseline{Seen: map[string][]string{Objects: {"container theirs", "network bridge"}}}
	differences := before.Compare(Baseline{Seen: map[string][]string{Objects: got}})
	var ours []string
	for _, d := range differences {
		if d.Ours {
			ours = append(ours, d.Name)
		}
	}
	if !slices.Equal(ours, []string{"container k3d-pipeops-server-0"}) {
		t.Errorf("%v", differences)
	}
}
