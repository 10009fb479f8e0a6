package main

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway"
	"github.com/pipeopshq/pipeops-agent/internal/nodes"
)

// TestWhatIsPrintedCannotSteerATerminal: versions, reasons and messages are what a kubelet or an agent of somebody's machine says of itself.
func TestWhatIsPrintedCannotSteerATerminal(t *testing.T) {
	const evil = "v1\x1b]0;title\a\r\u009b2J\u202etxt"
	const want = "v1\ufffd]0;title\ufffd\ufffd\ufffd2J\ufffdtxt"
	g := &globals{}
	var out strings.Builder
	err := g.Print(&out, nil, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "a\tb\n%s\nübrig\n", evil)
		return err
	})
	if err != nil || out.String() != "a\tb\n"+want+"\nübrig\n" {
		t.Errorf("a table: %q, %v", out.String(), err)
	}
	out.Reset()
	g.teller(&out, "two")(gateway.NodeProgress{Progress: nodes.Progress{Kind: "blocked", Pod: "shop/web", Message: evil}})
	if got := out.String(); got != "blocked    shop/web: "+want+"\n" {
		t.Errorf("progress: %q", got)
	}
}

// TestGrace: half a second is not none, in which a pod would be killed at once.
func TestGrace(t *testing.T) {
	for grace, want := range map[time.Duration]int64{0: 0, time.Millisecond: 1, time.Second: 1, 1500 * time.Millisecond: 2} {
		c := newNodesDrain(&globals{})
		if err := c.Flags().Set("grace", grace.String()); err != nil {
			t.Fatal(err)
		}
		if got := graceOf(c, grace); got == nil || *got != want {
			t.Errorf("%s: %v", grace, got)
		}
	}
	if got := graceOf(newNodesDrain(&globals{}), 0); got != nil {
		t.Errorf("none: %d", *got)
	}
}
