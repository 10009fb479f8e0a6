package identity

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/transport"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// leaveTimeout bounds the whole exchange: one handshake, one request.
const leaveTimeout = 15 * time.Second

// Leave tells the gateway that this machine's cluster is no more: it forgets the cluster, and its name is free. It is no
// error if the gateway has forgotten it already. The identity stays on disk; it is of no use any more.
func (i *Identity) Leave(ctx context.Context, through *transport.Dialer) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	client, base := i.Client(through)
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+wire.PathLeave, http.NoBody)
	if err != nil {
		return fmt.Errorf("cannot make the request: %w", err)
	}
	response, err := client.Do(r)
	if err != nil {
		return transport.Explain(err, i.Gateway())
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode < 300 {
		return nil
	}
	if err := refusal.Read(response); !reason.Is(err, reason.IdentityRevoked) {
		return err
	}
	return nil
}
