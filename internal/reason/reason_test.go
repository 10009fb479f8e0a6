package reason

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestCatalogueIsWhole(t *testing.T) {
	exits := []int{ExitUsage, ExitHostRefused, ExitReboot, ExitOuterHost, ExitWaiver, ExitDownload, ExitSignature,
		ExitRolledBack, ExitNotRolledBack, ExitUnhealthy, ExitTunnel, ExitBusy}
	seen := map[Code]bool{}
	for _, e := range All() {
		if seen[e.Code] {
			t.Errorf("%s is there twice", e.Code)
		}
		seen[e.Code] = true
		if e.Title == "" || e.Fix == "" || e.Where == "" || e.Cost == "" {
			t.Errorf("%s lacks something: %+v", e.Code, e)
		}
		if !slices.Contains(exits, e.Exit) {
			t.Errorf("%s has exit code %d, which is in no contract", e.Code, e.Exit)
		}
		if strings.ToUpper(string(e.Code)) != string(e.Code) || strings.HasSuffix(e.Title, ".") || strings.HasSuffix(e.Fix, ".") {
			t.Errorf("%s is not in the style of the catalogue", e.Code)
		}
	}
}

func TestErrors(t *testing.T) {
	inner := New(DownloadDigest, "k3s", nil)
	outer := New(StepFailed, "k3s-download", fmt.Errorf("cannot place: %w", inner))
	wrapped := fmt.Errorf("cannot install: %w", outer)
	if !Is(wrapped, StepFailed) || !Is(wrapped, DownloadDigest) || Is(wrapped, Busy) || Is(nil, Busy) || Is(errors.New("x"), Busy) {
		t.Error("Is does not tell the codes in a chain")
	}
	if both := errors.Join(New(Busy, "", nil), fmt.Errorf("and: %w", wrapped)); !Is(both, Busy) || !Is(both, DownloadDigest) || Is(both, Usage) {
		t.Error("Is does not look at all errors that are joined")
	}
	if Exit(nil) != ExitOK || Exit(errors.New("x")) != ExitInternal || Exit(wrapped) != ExitRolledBack || Exit(inner) != ExitDownload {
		t.Error("Exit does not give the outermost code")
	}
	if text := wrapped.Error(); !strings.Contains(text, "k3s-download") || !strings.Contains(text, outer.Title) {
		t.Errorf("the text is %q", text)
	}
	special := inner.WithFix("do that")
	if special.Fix != "do that" || inner.Fix == "do that" {
		t.Error("WithFix changes the original")
	}
}
