package deploy

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestObjectsGolden(t *testing.T) {
	project := wire.Project{Name: "web", Image: "web:1", Port: 8080, Replicas: 2, Env: map[string]string{"B": "2", "A": "1"}}
	var got []byte
	for _, o := range objects(project) {
		text, err := yaml.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		got = append(append(got, "---\n"...), text...)
	}
	golden := filepath.Join("testdata", "web.yaml")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}
