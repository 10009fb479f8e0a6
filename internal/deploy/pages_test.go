package deploy

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// TestPagesRefuse holds what must never be dialled. That pages are served is tested with a real Service, end to end.
func TestPagesRefuse(t *testing.T) {
	r, client := newTest(t)
	service := func(name, address, owner string) {
		object := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "Service",
			"metadata": map[string]any{"name": name, "namespace": Namespace(name), "labels": map[string]any{managedBy: owner}},
			"spec":     map[string]any{"clusterIP": address},
		}}
		if _, err := resource(client, "Service", Namespace(name)).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	service("loopback", "127.0.0.1", wire.FieldManager)
	service("mapped", "::ffff:127.0.0.1", wire.FieldManager)
	service("metadata", "169.254.169.254", wire.FieldManager)
	service("headless", "None", wire.FieldManager)
	service("foreign", "10.43.0.9", "somebody")

	pages := Pages(r.source, nil, nil, slog.New(slog.DiscardHandler))
	tests := []struct {
		path, user string
		want       reason.Code
	}{
		{"/v1/project/web/", "", reason.UserMissing},
		{"/v1/project/web/", "eve", reason.ProjectUnknown},
		{"/v1/project/UPPER/", "eve", reason.ProjectUnknown},
		{"/v1/project/loopback/%2e%2e/x", "eve", reason.ProjectUnknown},
		{"/v1/project/loopback/", "eve", reason.ProjectUnreachable},
		{"/v1/project/mapped/", "eve", reason.ProjectUnreachable},
		{"/v1/project/metadata/latest/meta-data", "eve", reason.ProjectUnreachable},
		{"/v1/project/headless/", "eve", reason.ProjectUnreachable},
		{"/v1/project/foreign/", "eve", reason.ProjectUnreachable},
	}
	for _, tt := range tests {
		request := httptest.NewRequest(http.MethodGet, tt.path, nil)
		if tt.user != "" {
			request.Header.Set(wire.HeaderUser, tt.user)
		}
		recorder := httptest.NewRecorder()
		pages.ServeHTTP(recorder, request)
		if err := refusal.Read(recorder.Result()); !reason.Is(err, tt.want) {
			body, _ := io.ReadAll(strings.NewReader(recorder.Body.String()))
			t.Errorf("%s as %q: %d %s, want %s", tt.path, tt.user, recorder.Code, body, tt.want)
		}
	}
}
