package cluster

import (
	"context"
	"fmt"
	"net/netip"
)

// TargetOf shows a test where an address leads to.
func TargetOf(ctx context.Context, c *Client, ip netip.Addr, port int) (string, error) {
	to, err := c.target(ctx, ip, port)
	return fmt.Sprintf("%s/%s %d", to.namespace, to.name, to.port), err
}
