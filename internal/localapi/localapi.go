// Package localapi is the agent's Unix socket: it answers what the running agent knows of itself, and lets it prove its cluster
// again. It changes nothing on the machine.
package localapi

import (
	"bytes"
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

const (
	statusPath = "/v1/status"
	provePath  = "/v1/prove"
)

// proveTimeout is how long a proof may take: that of each layer, one after another.
const proveTimeout = 5 * time.Minute

// Answers are what the agent does when it is asked.
type Answers struct {
	Status func() Status
	Prove  func(context.Context) error // proves the layers of the cluster now and returns when that is done
}

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
func Serve(ctx context.Context, socket string, answers Answers) error {
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
		_ = json.NewEncoder(w).Encode(answers.Status())
	})
	mux.HandleFunc("POST "+provePath, func(w http.ResponseWriter, r *http.Request) {
		prove(w, r, answers)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second}
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot serve the local socket: %w", err)
	}
	return ctx.Err()
}

// prove answers with the status when the proof has ended, in which way ever.
func prove(w http.ResponseWriter, r *http.Request, answers Answers) {
	control := http.NewResponseController(w)
	if err := control.SetWriteDeadline(time.Now().Add(proveTimeout)); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), proveTimeout)
	defer cancel()
	if err := answers.Prove(ctx); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answers.Status())
}

// maxStatus bounds what Fetch reads.
const maxStatus = 8 << 20

// fetchTimeout is how long the agent may take to say what it knows already.
const fetchTimeout = 5 * time.Second

// Fetch asks the agent that listens on the socket. AGENT_NOT_RUNNING means that nobody does.
func Fetch(ctx context.Context, socket string) (Status, error) {
	return call(ctx, socket, http.MethodGet, statusPath, fetchTimeout)
}

// Prove lets the agent prove the layers of its cluster now, waits for the end, and returns its status.
func Prove(ctx context.Context, socket string) (Status, error) {
	return call(ctx, socket, http.MethodPost, provePath, proveTimeout)
}

func call(ctx context.Context, socket, method, path string, timeout time.Duration) (Status, error) {
	var status Status
	client := http.Client{Timeout: timeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, nil)
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
	body := io.LimitReader(response.Body, maxStatus)
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(body, 1<<10))
		return status, fmt.Errorf("cannot ask the agent: %s: %s", response.Status, bytes.TrimSpace(text))
	}
	if err := json.NewDecoder(body).Decode(&status); err != nil {
		return status, fmt.Errorf("cannot read the agent's answer: %w", err)
	}
	return status, nil
}
