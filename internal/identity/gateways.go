package identity

import (
	"encoding/json"
	"fmt"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// gatewaysFile holds where the gateways are, as one of them has said last. Wherever that is, only a gateway of the CA is trusted.
const gatewaysFile = "gateways.json"

// Gateways returns where the gateways were when they were last heard of; none if that is not known.
func (i *Identity) Gateways() []wire.GatewayAddress {
	raw, err := i.folder.read(gatewaysFile)
	var list []wire.GatewayAddress
	if err != nil || json.Unmarshal(raw, &list) != nil {
		return nil // the address of the identity is enough to hear of them again
	}
	return wire.Known(list)
}

// KeepGateways keeps where the gateways are.
func (i *Identity) KeepGateways(list []wire.GatewayAddress) error {
	raw, err := json.Marshal(wire.Known(list))
	if err == nil {
		err = i.folder.write(gatewaysFile, append(raw, '\n'))
	}
	if err != nil {
		return fmt.Errorf("cannot keep the addresses of the gateways: %w", err)
	}
	return nil
}
