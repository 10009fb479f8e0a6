package distro

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// LayerFix returns the way out of a layer that is not proved: that of the catalogue, after what of this machine makes a cause
// likely.
func LayerFix(code reason.Code, facts host.Facts) string {
	fix := reason.Lookup(code).Fix
	hints := layerHints(code, facts)
	if len(hints) == 0 {
		return fix
	}
	return strings.Join(hints, "; ") + "; else " + fix
}

func layerHints(code reason.Code, facts host.Facts) []string {
	switch code {
	case reason.LayerDNS, reason.LayerPodNetwork, reason.LayerService:
		return firewallHints(facts)
	case reason.LayerLargePacket:
		return packetHints(facts)
	case reason.LayerNode, reason.LayerPod:
		for _, l := range facts.Virtualization.Stack {
			if l.Kind == host.LayerContainer {
				return []string{"this machine is itself a container (" + l.Name + "): what it lacks, its outer host gives"}
			}
		}
	}
	return nil
}

func firewallHints(facts host.Facts) []string {
	f := facts.Firewall
	n, _, _ := freeNetworks(facts)
	nets := strings.Join(n.values(), " and ")
	var hints []string
	if f.UFW.Value {
		hints = append(hints, "ufw is active: let it accept "+nets+", with ufw allow from and ufw route allow from and to each")
	}
	if f.Firewalld.Value {
		hints = append(hints, "firewalld is active: let its zone trusted have the sources "+nets)
	}
	if len(f.Rejects) > 0 {
		hints = append(hints, "packets are rejected by "+f.Rejects[0]+": accept those of "+nets+" before that rule")
	}
	return hints
}

// ethernet is the MTU of ordinary links, in bytes.
const ethernet = 1500

func packetHints(facts host.Facts) []string {
	i := slices.IndexFunc(facts.Links, func(l host.Link) bool { return l.Up && !l.Virtual && l.MTU > 0 && l.MTU < ethernet })
	if i < 0 {
		return nil
	}
	l := facts.Links[i]
	return []string{fmt.Sprintf("%s carries %d bytes only: the pod network needs an MTU 50 below that", l.Name, l.MTU)}
}
