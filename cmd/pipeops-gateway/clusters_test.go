package main

import (
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func TestInstallInOneCell(t *testing.T) {
	for _, tt := range []struct {
		event *wire.Event
		want  string
	}{
		{nil, "-"},
		{&wire.Event{Kind: "done"}, "done"},
		{&wire.Event{Kind: "error", Code: "DOWNLOAD_FAILED"}, "failed: DOWNLOAD_FAILED"},
		{&wire.Event{Kind: "error", Code: "REBOOT_NEEDED"}, "waits: REBOOT_NEEDED"},
		{&wire.Event{Kind: "error", Code: "CONSENT_NEEDED"}, "waits: CONSENT_NEEDED"},
		{&wire.Event{Kind: "step", Step: "k3s-unit", Title: "Start k3s", State: "started"}, "Start k3s started"},
		{&wire.Event{Kind: "step", Step: "k3s-download", State: "progress", Bytes: 1, Total: 4}, "k3s-download 25 %"},
	} {
		if got := install(tt.event); got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.event, got, tt.want)
		}
	}
}
