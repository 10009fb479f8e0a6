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
	metrics    = "/metrics"
)

const (
	// proveTimeout is how long a proof may take: that of each layer, one after another.
	proveTimeout = 5 * time.Minute
	// sayTimeout is how long it may take to say what came out.
	sayTimeout = 10 * time.Second
	// endTimeout is how long the end waits for those who are being answered.
	endTimeout = 5 * time.Second
)

// Answers are what the agent does when it is asked.
type Answers struct {
	Status func() Status
	Prove  func(context.Context) error // proves the layers of the cluster now and returns when that is done
	// Metrics answers in the text format of Prometheus; nil means that there are none.
	Metrics http.Handler
}

// Session is a session to a gateway.
type Session struct {
	Gateway     string    `json:"gateway"`   // host:port that was dialled
	Transport   string    `json:"transport"` // "tls" or "websocket"
	Proxy       string    `json:"proxy,omitempty"`
	Since       time.Time `json:"since"`
	RoundTripMS float64   `json:"round_trip_ms"` // of the newest ping
	Streams     int       `json:"streams"`       // that are open
	Second      bool      `json:"second"`        // it has a second connection, for what is large
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
	Provider   string           `json:"provider,omitempty"` // who runs the cluster: "eks", "gke", "aks", "k3s", ...
	Role       string           `json:"role,omitempty"`     // of this machine: "server" or "worker"
	Node       string           `json:"node,omitempty"`     // name of its Node, if it has joined
	Servers    []string         `json:"servers,omitempty"`  // that a worker knows of, host:port
	Sessions   []Session        `json:"sessions"`           // that are up, the newest last
	Conditions []wire.Condition `json:"conditions"`
	Documents  []wire.Status    `json:"documents"`
	RSS        int64            `json:"rss_bytes"` // resident memory of the agent
}

// Serve answers on the socket until ctx ends. The socket is for its owner only. BUSY means that another agent answers there.
func Serve(ctx context.Context, socket string, answers Answers) error {
	dialer := net.Dialer{Timeout: time.Second}
	if other, err := dialer.DialContext(ctx, "unix", socket); err == nil {
		_ = other.Close()
		return reason.Newf(reason.Busy, "another agent answers on %s", socket)
	}
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
	if answers.Metrics != nil {
		mux.Handle("GET "+metrics, answers.Metrics)
	}
	mux.HandleFunc("POST "+provePath, func(w http.ResponseWriter, r *http.Request) {
		prove(w, r, answers)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: sayTimeout}
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
		defer cancel()
		if server.Shutdown(limited) != nil {
			_ = server.Close()
		}
	})
	err = server.Serve(listener)
	if !stop() {
		<-ended // ctx has ended, and so soon do the answers
		return ctx.Err()
	}
	return fmt.Errorf("cannot serve the local socket: %w", err)
}

// prove answers with the status when the proof has ended, in which way ever.
func prove(w http.ResponseWriter, r *http.Request, answers Answers) {
	control := http.NewResponseController(w)
	if err := control.SetWriteDeadline(time.Now().Add(proveTimeout + sayTimeout)); err != nil {
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

// Prove lets the agent prove the layers of its cluster now, waits for the end, and returns its status. CLUSTER_UNHEALTHY means
// that it could not even try.
func Prove(ctx context.Context, socket string) (Status, error) {
	return call(ctx, socket, http.MethodPost, provePath, proveTimeout+2*sayTimeout)
}

// Metrics writes the metrics of the agent in the text format of Prometheus.
func Metrics(ctx context.Context, socket string, w io.Writer) error {
	return ask(ctx, socket, http.MethodGet, metrics, fetchTimeout, func(body io.Reader) error {
		if _, err := io.Copy(w, body); err != nil {
			return fmt.Errorf("cannot read the agent's answer: %w", err)
		}
		return nil
	})
}

func call(ctx context.Context, socket, method, path string, timeout time.Duration) (status Status, err error) {
	err = ask(ctx, socket, method, path, timeout, func(body io.Reader) error {
		if err := json.NewDecoder(body).Decode(&status); err != nil {
			return fmt.Errorf("cannot read the agent's answer: %w", err)
		}
		return nil
	})
	return status, err
}

// ask has read take the body of the answer.
func ask(ctx context.Context, socket, method, path string, timeout time.Duration, read func(io.Reader) error) error {
	client := http.Client{Timeout: timeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, nil)
	if err != nil {
		return fmt.Errorf("cannot ask the agent: %w", err)
	}
	response, err := client.Do(request)
	var late net.Error
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return fmt.Errorf("cannot wait for the agent: %w", ctx.Err())
	case errors.Is(err, os.ErrPermission):
		return reason.New(reason.HostNotRoot, "the agent's socket is for root only", err)
	case errors.As(err, &late) && late.Timeout():
		return reason.Newf(reason.AgentNotRunning, "the agent on %s does not answer within %s", socket, timeout)
	default:
		return reason.New(reason.AgentNotRunning, "nobody answers on "+socket, err)
	}
	defer func() { _ = response.Body.Close() }()
	body := io.LimitReader(response.Body, maxStatus)
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(body, 1<<10))
		if response.StatusCode == http.StatusServiceUnavailable {
			return reason.Newf(reason.ClusterUnhealthy, "%s", bytes.TrimSpace(text))
		}
		return fmt.Errorf("cannot ask the agent: %s: %s", response.Status, bytes.TrimSpace(text))
	}
	return read(body)
}
