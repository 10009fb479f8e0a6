package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/golden"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/localapi"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// TestConditionsAreShown: status and doctor show every condition, and how old what is proved rarely is.
func TestConditionsAreShown(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	before := now.Add(-3 * time.Hour)
	var all []wire.Condition
	for _, c := range health.All() {
		all = append(all, wire.Condition{Type: c.Type, Status: health.True, Reason: "Proved", Since: before})
	}
	for i, c := range all {
		switch c.Type {
		case health.PodsRun, health.PodNetwork, health.ServiceAddress:
			all[i].Checked = now.Add(-5 * time.Minute)
		case health.LargePacket:
			all[i] = wire.Condition{Type: c.Type, Status: health.False, Reason: "LAYER_LARGE_PACKET", Message: "1024 bytes each way passed; 65536 bytes from the pod 10.42.0.9 to this machine did not", Since: before, Checked: before}
		case health.Storage:
			all[i] = wire.Condition{Type: c.Type, Status: health.Unknown, Reason: "NoStorageClass", Message: "none of 0 storage classes is the default: nothing was written", Since: before, Checked: before}
		}
	}
	p := &console.Page{Width: 80}
	showConditions(p, all, now)
	golden.Check(t, filepath.Join("testdata/views", "conditions.doctor.txt"), p.String())
	var text strings.Builder
	if err := printStatus(&text, localapi.Status{Cluster: "shop", Conditions: all, Started: before}, now); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, filepath.Join("testdata/views", "conditions.status.txt"), text.String())
}

// TestStatusObeysNobody: what a pod or a registry said is shown, and steers no terminal.
func TestStatusObeysNobody(t *testing.T) {
	var text strings.Builder
	said := wire.Condition{Type: "Available", Status: health.False, Reason: "ErrImagePull", Message: "denied\x1b]0;owned\x07\nok  everything"}
	s := localapi.Status{Cluster: "shop\x1b[2J", Conditions: []wire.Condition{said}, Documents: []wire.Status{{Kind: "Project", Name: "web", Conditions: []wire.Condition{said}}}}
	if err := printStatus(&text, s, time.Now()); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(text.String(), "\x1b\x07") || strings.Contains(text.String(), "\nok  everything") {
		t.Errorf("%q", text.String())
	}
}
