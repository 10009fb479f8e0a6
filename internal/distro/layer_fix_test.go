package distro

import (
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func TestLayerFixKnowsTheMachine(t *testing.T) {
	container := host.Facts{Virtualization: host.Virtualization{Stack: []host.Layer{{Kind: host.LayerContainer, Name: "lxc"}, {Kind: host.LayerVM, Name: "kvm"}}}}
	narrow := host.Facts{Links: []host.Link{
		{Name: "lo", MTU: 65536, Up: true, Virtual: true}, {Name: "ens3", MTU: 9000, Up: true}, {Name: "wg0", MTU: 1420, Up: true, Virtual: true}, {Name: "ens4", MTU: 1400, Up: true}}}
	tests := []struct {
		name  string
		code  reason.Code
		facts host.Facts
		want  string // "" is that of the catalogue alone
	}{
		{"nothing is known", reason.LayerPodNetwork, host.Facts{}, ""},
		{"ufw", reason.LayerPodNetwork, host.Facts{Firewall: host.Firewall{UFW: host.Is(true)}}, "ufw is active"},
		{"firewalld", reason.LayerService, host.Facts{Firewall: host.Firewall{Firewalld: host.Is(true)}}, "firewalld is active"},
		{"rules", reason.LayerDNS, host.Facts{Firewall: host.Firewall{Rejects: []string{"kernel: INPUT -j REJECT", "x"}}}, "packets are rejected by kernel: INPUT -j REJECT"},
		{"a firewall stops no disk", reason.LayerStorage, host.Facts{Firewall: host.Firewall{UFW: host.Is(true)}}, ""},
		{"a container", reason.LayerPod, container, "this machine is itself a container (lxc)"},
		{"a narrow link", reason.LayerLargePacket, narrow, "ens4 carries 1400 bytes only"},
		{"links as usual", reason.LayerLargePacket, host.Facts{Links: narrow.Links[:2]}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			usual := reason.Lookup(tt.code).Fix
			got := LayerFix(tt.code, tt.facts)
			if tt.want == "" && got != usual || !strings.HasPrefix(got, tt.want) || !strings.HasSuffix(got, usual) {
				t.Errorf("got %q", got)
			}
		})
	}
}
