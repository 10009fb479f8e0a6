package deploy

import (
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// FuzzDocument: whatever document a gateway sends, what is accepted is kept as it came, in the folder of the documents and nowhere else,
// and asks for nothing outside of its own namespace and no rights for its pods.
func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"kind":"Project","name":"web","generation":3,"spec":{"name":"web","image":"a","port":80,"env":{"A":"\u0000"},"replicas":2}}`))
	f.Add([]byte(`{"kind":"Project","name":"../../x","generation":3}`))
	f.Add([]byte(`{"kind":"Project","name":"web","generation":9223372036854775807,"deleted":true,"spec":null}`))
	f.Add([]byte(`{"kind":"Project","name":"web","spec":{"name":"kube-system","image":"a","port":80}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var document wire.Document
		if len(raw) > wire.MaxDocument || json.Unmarshal(raw, &document) != nil {
			return
		}
		above := t.TempDir()
		dir := above + "/documents"
		r := New(dir, nil, slog.New(slog.DiscardHandler))
		if r.Accept(document) == nil {
			list, err := r.store.all()
			if err != nil || len(list) != 1 || list[0].damaged != nil || list[0].Generation != document.Generation || list[0].Name != document.Name || list[0].Deleted != document.Deleted {
				t.Errorf("%q is kept as %+v, %v", raw, list, err)
			}
			if n, err := r.Generation(); err != nil || n != document.Generation {
				t.Errorf("%q: goes on from %d, %v", raw, n, err)
			}
		}
		entries, err := os.ReadDir(above)
		if err != nil || len(entries) > 1 || len(entries) == 1 && entries[0].Name() != "documents" {
			t.Errorf("%q: left %v, %v", raw, entries, err)
		}
		project, err := parse(document)
		if err != nil {
			return
		}
		for _, o := range objects(project) {
			namespace := o.GetNamespace()
			if o.GetKind() == "Namespace" {
				namespace = o.GetName()
			}
			if namespace != Namespace(document.Name) || !strings.HasPrefix(namespace, "project-") {
				t.Errorf("%q makes %s %s in %q", raw, o.GetKind(), o.GetName(), namespace)
			}
		}
		made, err := json.Marshal(objects(project))
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{`"privileged":`, `"hostNetwork":`, `"hostPath":`, `"hostPID":`} { // a value has its quotes escaped
			if strings.Contains(string(made), word) {
				t.Errorf("%q: %s", raw, made)
			}
		}
	})
}
