package tunnel

import (
	"slices"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func TestSecondAddresses(t *testing.T) {
	const id, other = "0123456789abcdef", "fedcba9876543210"
	for name, tt := range map[string]struct {
		gateways []wire.GatewayAddress
		want     []string
	}{
		"one gateway":       {[]wire.GatewayAddress{{ID: id, Addresses: []string{"dialled:1"}}}, []string{"dialled:1"}},
		"behind a balancer": {[]wire.GatewayAddress{{ID: other, Addresses: []string{"b:1"}}, {ID: id, Addresses: []string{"a:1", "a:2"}}}, []string{"dialled:1", "a:1", "a:2"}},
		"it says nothing":   {nil, []string{"dialled:1"}},
		"what is none":      {[]wire.GatewayAddress{{ID: id, Addresses: []string{"a", "dialled:1"}}}, []string{"dialled:1"}},
	} {
		if got := secondAddresses("dialled:1", wire.Welcome{Gateway: id, Gateways: tt.gateways}); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
