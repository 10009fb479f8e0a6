package tunnel

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/health"
)

// TestTheCertificateIsLookedAtWhileASessionLasts: a session may outlive many certificates, or the last one.
func TestTheCertificateIsLookedAtWhileASessionLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		tracker := &health.Tracker{}
		tun := &tunnel{Options: Options{Health: tracker}}
		var until atomic.Value
		until.Store(time.Now().Add(24 * time.Hour))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			tun.watchCertificate(ctx, func() time.Time { return until.Load().(time.Time) })
		}()
		synctest.Wait()
		if c := tracker.Get(health.Certificate); c.Status != health.True {
			t.Errorf("got %+v", c)
		}
		time.Sleep(16 * time.Hour)
		renewed := time.Now().Add(24 * time.Hour)
		until.Store(renewed)
		time.Sleep(2 * certificateEvery)
		if c := tracker.Get(health.Certificate); !strings.Contains(c.Message, renewed.UTC().Format(time.RFC3339)) {
			t.Errorf("after it was renewed: %+v", c)
		}
		time.Sleep(25 * time.Hour)
		if c := tracker.Get(health.Certificate); c.Status != health.False {
			t.Errorf("after it has expired: %+v", c)
		}
		cancel()
		<-ended
	})
}
