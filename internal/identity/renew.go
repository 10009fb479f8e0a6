package identity

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/backoff"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Post sends a request for a new certificate to the gateway, through a session that proves who asks.
type Post func(context.Context, wire.RenewRequest) (wire.RenewResponse, error)

// Renew gets a new certificate for the same key and stores it.
func (i *Identity) Renew(ctx context.Context, post Post) error {
	csr, err := request(i.key)
	if err != nil {
		return fmt.Errorf("cannot make a certificate request: %w", err)
	}
	answer, err := post(ctx, wire.RenewRequest{CSR: csr})
	if err != nil {
		return err
	}
	old, doc := i.Expires(), i.document()
	doc.Certificate = answer.Certificate
	fresh := &Identity{folder: i.folder, key: i.key}
	if err := fresh.use(doc); err != nil {
		return fmt.Errorf("cannot use the new certificate: %w", err)
	}
	if fresh.Expires().Before(old) {
		return fmt.Errorf("cannot use the new certificate: it ends before the present one")
	}
	if err := i.folder.store(doc); err != nil {
		return err
	}
	return i.use(doc)
}

const (
	// renewSlice bounds one sleep: clocks are set, and machines are suspended, while it waits.
	renewSlice = time.Hour
	// renewLeast is the least time between two renewals: to a clock that is ahead, each new certificate is due at once.
	renewLeast = 10 * time.Minute
)

// KeepFresh renews the certificate whenever it is due, until ctx ends. It waits as long as it must between failures.
func (i *Identity) KeepFresh(ctx context.Context, log *slog.Logger, post Post) {
	var retry backoff.Backoff
	retry.Base, retry.Cap = 10*time.Second, 10*time.Minute // there are eight hours left to succeed
	for {
		for left := time.Until(i.RenewAt()); left > 0; left = time.Until(i.RenewAt()) {
			if backoff.Sleep(ctx, min(left, renewSlice)) != nil {
				return
			}
		}
		wait := renewLeast
		if err := i.Renew(ctx, post); err == nil {
			retry.Reset()
			log.Info("certificate renewed", "expires", i.Expires())
		} else if ctx.Err() == nil {
			wait = retry.Next()
			log.Warn("certificate not renewed", "expires", i.Expires(), "err", err)
		}
		if backoff.Sleep(ctx, wait) != nil {
			return
		}
	}
}
