package rig

import (
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func TestEvents(t *testing.T) {
	var shown int
	e := Events{Show: func(wire.Event) { shown++ }}
	for _, piece := range []string{
		`{"kind":"step","step":"binary","state":"star`, "ted\"}\n" + `{"kind":"step","step":"binary","state":"done","duration_ms":12}` + "\n{\"kind\":",
		"\"done\"}\n", `{"error":{"code":"BUSY"}}` + "\n",
	} {
		if n, err := e.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
	}
	if len(e.All) != 3 || shown != 3 || e.All[2].Kind != "done" {
		t.Errorf("got %d events, %d shown: %+v", len(e.All), shown, e.All)
	}
	if steps := e.Steps(); len(steps) != 1 || steps[0].DurationMS != 12 {
		t.Errorf("got steps %+v", steps)
	}
	if got := e.Failure(); got != `{"code":"BUSY"}` {
		t.Errorf("got failure %q", got)
	}
	if _, err := e.Write([]byte("no event\n")); err == nil {
		t.Error("no error for a line that is no event")
	}
}
