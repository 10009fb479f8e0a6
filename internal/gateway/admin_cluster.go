package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// DefaultUserLife is that of a user token.
const DefaultUserLife = 30 * 24 * time.Hour

// ClusterInfo is a cluster as `clusters` shows it.
type ClusterInfo struct {
	store.Cluster
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"` // of the present session
	Remote    string    `json:"remote,omitempty"`
	// Machines are those of the cluster, the oldest first. Connected, Since and Remote above are of the one that requests go to.
	Machines []MachineInfo `json:"machines"`
	Alarms   []store.Alarm `json:"alarms,omitempty"` // the newest first
}

// MachineInfo is a machine as `clusters machines` shows it.
type MachineInfo struct {
	store.Machine
	Leads     bool      `json:"leads"`           // it is sent the documents of the cluster
	Alarm     string    `json:"alarm,omitempty"` // code of its newest alarm
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"` // of the present session
	Remote    string    `json:"remote,omitempty"`
}

// Access is what a user needs to reach a cluster.
type Access struct {
	Server  string    `json:"server"`
	CA      string    `json:"ca"` // PEM
	Cluster string    `json:"cluster"`
	User    string    `json:"user"`
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

// accessRequest is the body of a request for a user token.
type accessRequest struct {
	User       string `json:"user,omitempty"`
	TTLSeconds int64  `json:"ttl_seconds,omitempty"`
}

func (g *Gateway) listClusters(r *http.Request) (any, error) {
	clusters, err := g.store.Clusters(r.Context())
	if err != nil {
		return nil, err
	}
	alarms, err := g.store.Alarms(r.Context())
	if err != nil {
		return nil, err
	}
	list := make([]ClusterInfo, 0, len(clusters))
	locations, err := g.locations(r.Context(), "")
	if err != nil {
		return nil, err
	}
	for _, c := range clusters {
		info := ClusterInfo{Cluster: c}
		if info.Machines, err = g.machinesAt(r.Context(), c, locations); err != nil {
			return nil, err
		}
		if p := g.sessions.get(c.ID); p != nil {
			info.Connected, info.Since, info.Remote = true, p.since, p.remote
		} else {
			for _, m := range info.Machines {
				if m.Connected && m.Role == wire.RoleServer && (!info.Connected || m.Since.Before(info.Since)) {
					info.Connected, info.Since, info.Remote = true, m.Since, m.Remote
				}
			}
		}
		for _, a := range alarms {
			if a.ClusterID == c.ID {
				info.Alarms = append(info.Alarms, a)
			}
		}
		list = append(list, info)
	}
	return list, nil
}

// locations returns the sessions at other gateways by machine, of one cluster or, if id is "", of all.
func (g *Gateway) locations(ctx context.Context, id string) (map[string]store.Location, error) {
	if !g.store.Shared() {
		return nil, nil
	}
	list, err := g.store.Locations(ctx, id)
	if err != nil {
		return nil, err
	}
	out := make(map[string]store.Location, len(list))
	for _, l := range list {
		if _, known := out[l.Machine]; !known || !l.Standby {
			out[l.Machine] = l
		}
	}
	return out, nil
}

func (g *Gateway) machines(ctx context.Context, c store.Cluster) ([]MachineInfo, error) {
	locations, err := g.locations(ctx, c.ID)
	if err != nil {
		return nil, err
	}
	return g.machinesAt(ctx, c, locations)
}

func (g *Gateway) machinesAt(ctx context.Context, c store.Cluster, locations map[string]store.Location) ([]MachineInfo, error) {
	machines, err := g.store.Machines(ctx, c.ID)
	if err != nil {
		return nil, err
	}
	alarms, err := g.store.Alarms(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]MachineInfo, 0, len(machines))
	for _, m := range machines {
		info := MachineInfo{Machine: m, Leads: m.ID == c.Lead}
		if p := g.sessions.machine(c.ID, m.ID); p != nil {
			info.Connected, info.Since, info.Remote = true, p.since, p.remote
		} else if l, there := locations[m.ID]; there {
			info.Connected, info.Since, info.Remote = true, l.Since, l.Remote
		}
		for _, a := range alarms {
			if a.ClusterID == c.ID && a.Machine == m.ID {
				info.Alarm = a.Code
				break // the newest is the first
			}
		}
		list = append(list, info)
	}
	return list, nil
}

func (g *Gateway) listMachines(r *http.Request) (any, error) {
	c, err := g.cluster(r)
	if err != nil {
		return nil, err
	}
	return g.machines(r.Context(), c)
}

// removeMachine forgets one machine, by its id or the name of its node. One that is connected is removed only by force.
func (g *Gateway) removeMachine(r *http.Request) (any, error) {
	c, err := g.cluster(r)
	if err != nil {
		return nil, err
	}
	m, err := g.machine(r, c, r.PathValue("machine"))
	if err != nil {
		return nil, err
	}
	if m.Connected && r.URL.Query().Get("force") != "true" {
		return nil, reason.Newf(reason.Usage, "it is connected, from %s", m.Remote).
			WithFix("run pipeops-agent uninstall on that machine, or add --force")
	}
	return m, g.forget(r.Context(), c, m.Machine, "by an administrator")
}

// machine finds a machine by its id or the name of its node, or the one that enrolled the cluster by "". The error is
// MACHINE_UNKNOWN if there is none.
func (g *Gateway) machine(r *http.Request, c store.Cluster, name string) (MachineInfo, error) {
	list, err := g.machines(r.Context(), c)
	if err != nil {
		return MachineInfo{}, err
	}
	for _, m := range list {
		if name != "" && (m.ID == name || m.Node == name) || name == "" && m.Enrolled {
			return m, nil
		}
	}
	return MachineInfo{}, reason.Newf(reason.MachineUnknown, "%s has no machine %.70q", c.Name, name)
}

// nodeTokenRequest is the body of a request for a node token.
type nodeTokenRequest struct {
	Role       wire.Role `json:"role,omitempty"`
	TTLSeconds int64     `json:"ttl_seconds,omitempty"`
}

// NewNodeToken is a node token in the moment in which it is made.
type NewNodeToken struct {
	NewToken
	Gateway string `json:"gateway"` // host:port
}

func (g *Gateway) createNodeToken(r *http.Request) (any, error) {
	c, err := g.cluster(r)
	if err != nil {
		return nil, err
	}
	var request nodeTokenRequest
	if err := read(r, &request); err != nil {
		return nil, err
	}
	if request.Role == "" {
		request.Role = wire.RoleWorker
	}
	if !request.Role.Known() {
		return nil, reason.Newf(reason.Usage, "role %.20q: want %s or %s", request.Role, wire.RoleServer, wire.RoleWorker)
	}
	life, err := tokenLife(request.TTLSeconds)
	if err != nil {
		return nil, err
	}
	token := wire.NewNodeToken(g.authority.cert.Raw)
	kept, err := g.store.AddNodeToken(r.Context(), token, c, request.Role, life)
	if err != nil {
		return nil, err
	}
	g.Log.Info("node token made", "token", token.ID, "cluster", c.Name, "role", request.Role, "life", life)
	return NewNodeToken{NewToken: NewToken{Token: kept, Secret: token.Reveal()}, Gateway: strings.TrimPrefix(g.url(), "https://")}, nil
}

func (g *Gateway) cluster(r *http.Request) (store.Cluster, error) {
	return g.store.ClusterByName(r.Context(), r.PathValue("cluster"))
}

func (g *Gateway) clusterFacts(r *http.Request) (any, error) {
	c, err := g.cluster(r)
	if err != nil {
		return nil, err
	}
	machine, err := g.query(r, c)
	if err != nil {
		return nil, err
	}
	facts, err := g.store.Facts(r.Context(), c.ID, machine.ID)
	if facts == nil {
		facts = json.RawMessage("null")
	}
	return facts, err
}

func (g *Gateway) clusterEvents(r *http.Request) (any, error) {
	c, err := g.cluster(r)
	if err != nil {
		return nil, err
	}
	machine, err := g.query(r, c)
	if err != nil {
		return nil, err
	}
	return g.store.Events(r.Context(), c.ID, machine.Named())
}

// query finds the machine that a request asks for by ?machine=; none means that the cluster is meant.
func (g *Gateway) query(r *http.Request, c store.Cluster) (store.Machine, error) {
	name := r.URL.Query().Get("machine")
	if name == "" {
		return store.Machine{}, nil
	}
	m, err := g.machine(r, c, name)
	return m.Machine, err
}

func (g *Gateway) createAccess(r *http.Request) (any, error) {
	c, err := g.cluster(r)
	if err != nil {
		return nil, err
	}
	var request accessRequest
	if err := read(r, &request); err != nil {
		return nil, err
	}
	if request.User == "" {
		request.User = "admin"
	}
	life := DefaultUserLife
	if request.TTLSeconds != 0 {
		life = time.Duration(request.TTLSeconds) * time.Second
	}
	if !wire.ValidName(request.User) || life < time.Second {
		return nil, reason.Newf(reason.Usage, "user %q for %s: want lower-case letters, digits and '-', at most 40, and at least a second", request.User, life)
	}
	token, expires, err := g.store.AddUserToken(r.Context(), request.User, []string{wire.GroupAdmins}, c.ID, life)
	if err != nil {
		return nil, err
	}
	g.Log.Info("user token made", "user", request.User, "cluster", c.Name, "life", life)
	return Access{
		Server: g.url() + wire.PathClusters + "/" + c.Name, CA: g.authority.pem(),
		Cluster: c.Name, User: request.User, Token: token, Expires: expires,
	}, nil
}
