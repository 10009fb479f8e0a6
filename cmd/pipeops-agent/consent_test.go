package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap"
	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func TestAskConsent(t *testing.T) {
	needed := []distro.Remedy{{ID: distro.RemedyPackage, Title: "iptables is installed", Cost: reason.CostPackage}}
	for answer, want := range map[string]bool{
		"y\n": true, "Yes\n": true, " y \n": true, "n\n": false, "\n": false, "": false, "yesterday\n": false, strings.Repeat("y", 4<<10): false,
	} {
		in, typed, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := typed.WriteString(answer); err != nil {
			t.Fatal(err)
		}
		typed.Close()
		var out bytes.Buffer
		got, err := askConsent(t.Context(), in, &out, needed)
		if err != nil || got != want || out.String() != "This machine needs: iptables is installed (package). Go on? [y/N] " {
			t.Errorf("%.10q: %v, %v, %q", answer, got, err, out.String())
		}
		in.Close()
	}

	in, typed, err := os.Pipe() // nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer typed.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := askConsent(ctx, in, &bytes.Buffer{}, needed); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

func TestPlanSaysWhatCannotBeInstalled(t *testing.T) {
	var p console.Page
	showPlan(&p, bootstrap.Plan{Decision: distro.Decision{Chosen: distro.Kind}, Unavailable: true})
	if !strings.Contains(p.String(), "this version cannot install kind yet") || strings.Contains(p.String(), "Files") {
		t.Error(p.String())
	}
}
