package gateway_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/gateway"
)

// BenchmarkAudit is a small request of a user through gateway, tunnel and agent, without and with an audit log at the gateway: compare the
// three of one run.
func BenchmarkAudit(b *testing.B) {
	for _, mode := range []string{gateway.AuditOff, gateway.AuditOn, gateway.AuditRequired} {
		b.Run(mode, func(b *testing.B) {
			road := build(b)
			road.gateway.Audit = mode
			road.restart(gateway.Limits{})
			for b.Loop() {
				r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, road.user.base+"/readyz", nil)
				if err != nil {
					b.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer "+road.user.token)
				response, err := road.user.client.Do(r)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
			}
		})
	}
}
