package bootstrap

import (
	"slices"
	"strings"
	"testing"
)

func TestSettingChanges(t *testing.T) {
	before := []Setting{
		{Name: "cluster", Values: []string{"shop"}},
		{Name: "mirror", Values: []string{"http://mirror"}},
		{Name: "disable", Values: []string{"traefik", "servicelb"}, List: true},
		{Name: "tls-san", List: true},
		{Name: "consent", Values: []string{"package", "reboot"}, List: true},
	}
	after := []Setting{
		{Name: "cluster", Values: []string{"shop"}},
		{Name: "mirror"},
		{Name: "k3s-version", Values: []string{"v1.33.3+k3s1"}, Restarts: "k3s"},
		{Name: "disable", Values: []string{"servicelb"}, List: true, Restarts: "k3s"},
		{Name: "tls-san", Values: []string{"api.example.com"}, List: true, Restarts: "k3s"},
		{Name: "consent", Values: []string{"reboot", "package"}, List: true},
	}
	changes := SettingChanges(before, after)
	var lines []string
	for _, c := range changes {
		lines = append(lines, c.String())
	}
	want := []string{"mirror: http://mirror -> (none)", "k3s-version: (none) -> v1.33.3+k3s1", "disable: traefik,servicelb -> servicelb", "tls-san: + api.example.com"}
	if !slices.Equal(lines, want) {
		t.Errorf("got %q", lines)
	}
	if got := startedAnew(changes); !slices.Equal(got, []string{"k3s"}) {
		t.Errorf("started anew: %v", got)
	}
	e := settingsEvent(changes)
	if e.Kind != "settings" || !strings.Contains(string(e.Detail), `{"name":"tls-san","before":[],"after":["api.example.com"],"restarts":"k3s"}`) ||
		!strings.HasSuffix(e.Message, "\nStarted anew for it: k3s") {
		t.Errorf("%s %s", e.Message, e.Detail)
	}
}
