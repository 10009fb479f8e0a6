package reason

import (
	"slices"
	"strings"
	"testing"
)

// TestExplanations: what a machine may be refused for is explained, in one to three sentences.
func TestExplanations(t *testing.T) {
	for _, e := range All() {
		code, text := e.Code, Explain(e.Code)
		must := slices.ContainsFunc([]string{"HOST_", "NET_", "DOCKER_", "CLUSTER_", "K3S_"}, func(prefix string) bool { return strings.HasPrefix(string(code), prefix) })
		switch n := strings.Count(text+" ", ". "); {
		case text == "" && must:
			t.Errorf("%s is not explained", code)
		case text == "":
			t.Logf("%s is not explained", code)
		case n < 1 || n > 3 || !strings.HasSuffix(text, ".") || strings.Contains(text, "\n"):
			t.Errorf("%s is explained in %d sentences: %s", code, n, text)
		}
	}
	if Explain("NO_SUCH_CODE") != "" {
		t.Error("something is explained that is not there")
	}
}

func TestFindAndNear(t *testing.T) {
	if e, ok := Find(" host-memory-low"); !ok || e.Code != HostMemoryLow {
		t.Errorf("got %v, %v", e, ok)
	}
	if _, ok := Find("HOST_MEMORY"); ok {
		t.Error("half a code is found")
	}
	tests := []struct{ typed, first string }{
		{"HOST_MEMORY", "HOST_MEMORY_LOW"},
		{"hots_memory_low", "HOST_MEMORY_LOW"},
		{"HOST_MEMRY", "HOST_MEMORY_LOW"},
		{"PORT_TAKEN", "NET_PORT_TAKEN"},
		{"CLUSTER_FORIGN", "CLUSTER_FOREIGN"},
		{"", ""},
		{"Q", ""},
		{"COMPLETELY_DIFFERENT", ""},
		{strings.Repeat("HOST_", 1000), ""},
	}
	for _, tt := range tests {
		near := Near(tt.typed)
		if len(near) > maxNear || tt.first == "" && len(near) > 0 || tt.first != "" && (len(near) == 0 || near[0] != tt.first) {
			t.Errorf("%q: got %v, want %q first", tt.typed, near, tt.first)
		}
	}
}
