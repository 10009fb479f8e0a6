package cluster

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// kubeletHealth is where the kubelet of a node says how it is, to that node only.
const kubeletHealth = "http://127.0.0.1:10248/healthz"

// maxKubelet bounds what is read of its answer, in bytes: "ok", or one line.
const maxKubelet = 200

// KubeletHealthy returns nil if the kubelet of this machine says that it is healthy.
func KubeletHealthy(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, kubeletHealth, http.NoBody)
	if err != nil {
		return fmt.Errorf("cannot ask the kubelet: %w", err)
	}
	transport := &http.Transport{DisableKeepAlives: true} // through no proxy
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("cannot ask the kubelet: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	said, err := io.ReadAll(io.LimitReader(response.Body, maxKubelet))
	if err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("the kubelet says %s: %q", response.Status, said)
	}
	return nil
}
