package main

import (
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/doctor"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// TestVerdictWhileUnderWay: what is half done is neither healthy nor broken.
func TestVerdictWhileUnderWay(t *testing.T) {
	busy := reason.Newf(reason.Busy, "an install is under way")
	if got := verdict(doctor.Examine(doctor.Patient{Begun: busy, UnderWay: true})); !strings.HasPrefix(got, "not finished: ") {
		t.Error(got)
	}
	if got := verdict(doctor.Examine(doctor.Patient{Begun: busy})); strings.Contains(got, "not finished") {
		t.Error(got)
	}
}
