package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// checkTimeout bounds one round trip that is made to see whether it can be.
const checkTimeout = 10 * time.Second

// Check is what came of a request through the whole path: gateway, tunnel, agent, API server and back.
type Check struct {
	Cluster string `json:"cluster"`
	Machine string `json:"machine,omitempty"` // id of that which it went to
	OK      bool   `json:"ok"`                // the API server has answered that it is ready
	TookMS  int64  `json:"took_ms"`
	Says    string `json:"says"` // what it answered, or why nothing came back
}

// roundTrip asks the agent something, as a request of a user would, for one who wants to know whether that works.
func (g *Gateway) roundTrip(w http.ResponseWriter, r *http.Request, p *peer) {
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	ping, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent"+wire.PathAgentPing, nil)
	if err == nil {
		var response *http.Response
		if response, err = p.transport().RoundTrip(ping); err == nil {
			_ = response.Body.Close()
			if response.StatusCode >= http.StatusBadRequest {
				err = fmt.Errorf("the agent answered %s", response.Status)
			}
		}
	}
	if err != nil {
		g.fail(w, r, reason.New(reason.ClusterNotConnected, "no request reaches the agent: "+err.Error(), nil))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// checkCluster makes a request to the API server of a cluster, by the way that those of users take.
func (g *Gateway) checkCluster(r *http.Request) (any, error) {
	c, err := g.cluster(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	check := Check{Cluster: c.Name}
	if p := g.sessions.get(c.ID); p != nil {
		check.Machine = p.machine
	}
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent"+wire.PathAgentKube+"/readyz", nil)
	if err != nil {
		return nil, fmt.Errorf("cannot make the request: %w", err)
	}
	began := time.Now()
	response, err := kubeTransport{gateway: g, cluster: c}.RoundTrip(ask)
	if err != nil {
		check.Says = err.Error()
	} else {
		defer func() { _ = response.Body.Close() }()
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		check.OK, check.Says = response.StatusCode == http.StatusOK, response.Status+" "+string(text)
	}
	check.TookMS = time.Since(began).Milliseconds()
	return check, nil
}
