// Package localapi is the agent's Unix socket: it answers what the running agent knows of itself. It changes nothing.
package localapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const statusPath = "/v1/status"

// Status is what a running agent says of itself.
type Status struct {
	Agent      string           `json:"agent"` // version
	Started    time.Time        `json:"started"`
	Gateway    string           `json:"gateway"`
	Cluster    string           `json:"cluster"`
	ClusterID  string           `json:"cluster_id"`
	Distro     string           `json:"distro"`
	Kubernetes string           `json:"kubernetes,omitempty"`
	Conditions []wire.Condition `json:"conditions"`
	Documents  []wire.Status    `json:"documents"`
	RSS        int64            `json:"rss_bytes"` // resident memory of the agent
}

// Serve answers on the socket until ctx ends. The socket is readable by its owner only.
func Serve(ctx context.Context, socket string, status func() Status) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot remove the old socket: %w", err)
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("cannot listen on the local socket: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return errors.Join(fmt.Errorf("cannot protect the local socket: %w", err), listener.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+statusPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(status())
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot serve the local socket: %w", err)
	}
	return ctx.Err()
}

// maxStatus bounds what Fetch reads.
const maxStatus = 8 << 20

// Fetch asks the agent that listens on the socket. AGENT_NOT_RUNNING means that nobody does.
func Fetch(ctx context.Context, socket string) (Status, error) {
	var status Status
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent"+statusPath, nil)
	if err != nil {
		return status, fmt.Errorf("cannot ask the agent: %w", err)
	}
	response, err := client.Do(request)
	if errors.Is(err, os.ErrPermission) {
		return status, reason.New(reason.HostNotRoot, "the agent's socket is for root only", err)
	}
	if err != nil {
		return status, reason.New(reason.AgentNotRunning, "nobody answers on "+socket, err)
	}
	defer func() { _ = response.Body.Close() }()
	if err := json.NewDecoder(io.LimitReader(response.Body, maxStatus)).Decode(&status); err != nil {
		return status, fmt.Errorf("cannot read the agent's answer: %w", err)
	}
	return status, nil
}
