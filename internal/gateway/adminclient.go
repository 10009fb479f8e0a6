package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// maxAdminAnswer bounds an answer, in bytes: the longest lists the documents of a cluster, of at most wire.MaxDocument each.
const maxAdminAnswer = 256 << 20

// Admin asks the gateway that runs on this machine, through its administrators' socket.
type Admin struct {
	socket string
	http   *http.Client
}

// NewAdmin returns a client for the gateway with the given data folder.
func NewAdmin(data string) *Admin {
	socket := AdminSocket(data)
	return &Admin{socket: socket, http: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}}
}

// CreateToken makes a join token. An empty cluster lets any new name enrol; a zero life means DefaultTokenLife.
func (a *Admin) CreateToken(ctx context.Context, cluster string, life time.Duration) (t NewToken, err error) {
	return t, a.call(ctx, http.MethodPost, "/tokens", tokenRequest{Cluster: cluster, TTLSeconds: seconds(life)}, &t)
}

// CreateNodeToken makes a token by which one machine can join a cluster. An empty role means worker, a zero life
// DefaultTokenLife.
func (a *Admin) CreateNodeToken(ctx context.Context, cluster string, role wire.Role, life time.Duration) (t NewNodeToken, err error) {
	return t, a.call(ctx, http.MethodPost, "/clusters/"+url.PathEscape(cluster)+"/join", nodeTokenRequest{Role: role, TTLSeconds: seconds(life)}, &t)
}

// RevokeToken makes a join token or a node token useless, by its id.
func (a *Admin) RevokeToken(ctx context.Context, id string) error {
	var gone revoked
	return a.call(ctx, http.MethodDelete, "/tokens/"+url.PathEscape(id), nil, &gone)
}

// Machines lists the machines of a cluster.
func (a *Admin) Machines(ctx context.Context, cluster string) (list []MachineInfo, err error) {
	return list, a.call(ctx, http.MethodGet, "/clusters/"+url.PathEscape(cluster)+"/machines", nil, &list)
}

// RemoveMachine forgets a machine, by its id or the name of its node. One that is connected is removed only by force.
func (a *Admin) RemoveMachine(ctx context.Context, cluster, machine string, force bool) (removed MachineInfo, err error) {
	path := "/clusters/" + url.PathEscape(cluster) + "/machines/" + url.PathEscape(machine)
	if force {
		path += "?force=true"
	}
	return removed, a.call(ctx, http.MethodDelete, path, nil, &removed)
}

// Tokens lists the join tokens and the node tokens.
func (a *Admin) Tokens(ctx context.Context) (list []store.Token, err error) {
	return list, a.call(ctx, http.MethodGet, "/tokens", nil, &list)
}

// Users lists the users.
func (a *Admin) Users(ctx context.Context) (list []store.User, err error) {
	return list, a.call(ctx, http.MethodGet, "/users", nil, &list)
}

// Clusters lists the clusters.
func (a *Admin) Clusters(ctx context.Context) (list []ClusterInfo, err error) {
	return list, a.call(ctx, http.MethodGet, "/clusters", nil, &list)
}

// RemoveCluster forgets a cluster, so that its name is free. One that is connected is removed only by force.
func (a *Admin) RemoveCluster(ctx context.Context, cluster string, force bool) (removed store.Cluster, err error) {
	path := "/clusters/" + url.PathEscape(cluster)
	if force {
		path += "?force=true"
	}
	return removed, a.call(ctx, http.MethodDelete, path, nil, &removed)
}

// RevokeCluster refuses the machines of a cluster from now on and ends their sessions.
func (a *Admin) RevokeCluster(ctx context.Context, cluster string) (revoked store.Cluster, err error) {
	return revoked, a.call(ctx, http.MethodPost, "/clusters/"+url.PathEscape(cluster)+"/revoke", nil, &revoked)
}

// Check makes a request to the API server of a cluster and back.
func (a *Admin) Check(ctx context.Context, cluster string) (c Check, err error) {
	return c, a.call(ctx, http.MethodGet, "/clusters/"+url.PathEscape(cluster)+"/check", nil, &c)
}

// Metrics writes the metrics of the gateway in the text format of Prometheus.
func (a *Admin) Metrics(ctx context.Context, w io.Writer) error {
	response, err := a.do(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return refusal.Read(response)
	}
	if _, err := io.Copy(w, io.LimitReader(response.Body, maxAdminAnswer)); err != nil {
		return fmt.Errorf("cannot read the gateway's answer: %w", err)
	}
	return nil
}

// Alarms lists what an operator should look at.
func (a *Admin) Alarms(ctx context.Context) (list []store.Alarm, err error) {
	return list, a.call(ctx, http.MethodGet, "/alarms", nil, &list)
}

// ClearAlarms forgets the alarms of a cluster, all of them if that is "", and returns how many there were.
func (a *Admin) ClearAlarms(ctx context.Context, cluster string) (int64, error) {
	var gone cleared
	return gone.Cleared, a.call(ctx, http.MethodDelete, "/alarms?cluster="+url.QueryEscape(cluster), nil, &gone)
}

// Facts returns what a cluster's agent last said of its machine, null if it said nothing.
func (a *Admin) Facts(ctx context.Context, cluster string) (facts json.RawMessage, err error) {
	return facts, a.call(ctx, http.MethodGet, "/clusters/"+url.PathEscape(cluster)+"/facts", nil, &facts)
}

// Events returns the progress of a cluster's install.
func (a *Admin) Events(ctx context.Context, cluster string) (list []wire.Event, err error) {
	return list, a.call(ctx, http.MethodGet, "/clusters/"+url.PathEscape(cluster)+"/events", nil, &list)
}

// CreateAccess makes a user token for a cluster. An empty user means admin, a zero life DefaultUserLife.
func (a *Admin) CreateAccess(ctx context.Context, cluster, user string, life time.Duration) (access Access, err error) {
	return access, a.call(ctx, http.MethodPost, "/clusters/"+url.PathEscape(cluster)+"/access", accessRequest{User: user, TTLSeconds: seconds(life)}, &access)
}

// Projects lists the projects of a cluster.
func (a *Admin) Projects(ctx context.Context, cluster string) (list []Project, err error) {
	return list, a.call(ctx, http.MethodGet, "/clusters/"+url.PathEscape(cluster)+"/projects", nil, &list)
}

// Apply sets the desired state of a project.
func (a *Admin) Apply(ctx context.Context, cluster string, p wire.Project) (out Project, err error) {
	return out, a.call(ctx, http.MethodPut, projectPath(cluster, p.Name), p, &out)
}

// Project returns a project as soon as it is ready, or as it is after wait.
func (a *Admin) Project(ctx context.Context, cluster, name string, wait time.Duration) (p Project, err error) {
	end := time.Now().Add(wait)
	for {
		left := max(0, time.Until(end))
		err = a.call(ctx, http.MethodGet, projectPath(cluster, name)+"?wait="+strconv.FormatInt(seconds(left), 10), nil, &p)
		if err != nil || p.Ready || left < time.Second {
			return p, err
		}
	}
}

// Delete asks for the removal of a project.
func (a *Admin) Delete(ctx context.Context, cluster, name string) (p Project, err error) {
	return p, a.call(ctx, http.MethodDelete, projectPath(cluster, name), nil, &p)
}

// Page fetches a page of a project through the tunnel; the caller closes the body. A status of 400 and above is the
// project's own answer and no error.
func (a *Admin) Page(ctx context.Context, cluster, name, path string) (*http.Response, error) {
	path = projectPath(cluster, name) + "/page/" + strings.TrimPrefix(path, "/")
	response, err := a.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	if code := response.Header.Get("Content-Type"); response.StatusCode >= 400 && code == "application/json" {
		defer func() { _ = response.Body.Close() }()
		raw, err := io.ReadAll(io.LimitReader(response.Body, wire.MaxDocument))
		if err != nil {
			return nil, reason.New(reason.ClusterNotConnected, "the answer was cut", err)
		}
		var body wire.Error
		if json.Unmarshal(raw, &body) == nil && body.Code != "" {
			return nil, refusal.FromWire(body) // of the gateway or the agent, not of the project
		}
		response.Body = io.NopCloser(bytes.NewReader(raw))
	}
	return response, nil
}

func projectPath(cluster, name string) string {
	return "/clusters/" + url.PathEscape(cluster) + "/projects/" + url.PathEscape(name)
}

// seconds are rounded away from 0, which means a default.
func seconds(d time.Duration) int64 {
	if d < 0 {
		return -seconds(-d)
	}
	return int64((d + time.Second - 1) / time.Second)
}

func (a *Admin) call(ctx context.Context, method, path string, body, into any) error {
	response, err := a.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= 300 {
		return refusal.Read(response)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAdminAnswer)).Decode(into); err != nil {
		return fmt.Errorf("cannot read the gateway's answer: %w", err)
	}
	return nil
}

func (a *Admin) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var raw []byte
	var err error
	if body != nil {
		if raw, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("cannot make the request: %w", err)
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://gateway"+path, bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("cannot make the request: %w", err)
	}
	response, err := a.http.Do(r)
	switch {
	case err == nil:
		return response, nil
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, reason.Newf(reason.GatewayNotRunning, "nobody listens on %s", a.socket)
	case errors.Is(err, os.ErrPermission), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return nil, reason.Newf(reason.HostNotRoot, "%s is for root and the gateway's own user", a.socket)
	}
	return nil, fmt.Errorf("cannot ask the gateway: %w", err)
}
