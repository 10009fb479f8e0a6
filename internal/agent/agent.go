// Package agent is what stays running on a machine: the tunnel, the Kubernetes API proxy, the projects, the look-out for
// the cluster, the local socket. It starts them, each in one goroutine of one group, and holds nothing else.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipeopshq/pipeops-agent/internal/apiproxy"
	"github.com/pipeopshq/pipeops-agent/internal/audit"
	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/deploy"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/localapi"
	"github.com/pipeopshq/pipeops-agent/internal/metric"
	"github.com/pipeopshq/pipeops-agent/internal/nodes"
	"github.com/pipeopshq/pipeops-agent/internal/policy"
	"github.com/pipeopshq/pipeops-agent/internal/reach"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/transport"
	"github.com/pipeopshq/pipeops-agent/internal/tunnel"
	"github.com/pipeopshq/pipeops-agent/internal/unit"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Options say what the agent works with.
type Options struct {
	Identity   *identity.Identity
	Transport  *transport.Dialer // how the gateway is reached; nil: directly
	Kubeconfig string            // of its own account in the cluster; need not exist yet, and is renewed here
	TokenLife  time.Duration     // how long a token of that account is used; 0: [cluster.TokenLife]
	Distro     string
	DataDir    string // of the cluster; "" is its own place
	NoJoin     bool   // the owner of this machine wants no machine to join its cluster
	Policy     string // the file that says what the owner of this machine allows; need not exist
	StateDir   string
	Metrics    string // loopback address, host:port, at which metrics are to be read besides the local socket; "" is none
	Audit      string // how the audit log is kept: AuditOn, which "" means, AuditRequired or AuditOff
	Socket     string // of the local API
	Version    string
	Host       *host.System
	Log        *slog.Logger
}

// What package distro calls a cluster that was there before, and the distribution whose node is the machine itself. The nodes of
// all others are elsewhere: containers, or other machines, and no machine can join them.
const (
	adopted = "existing"
	onHost  = "k3s"
)

// agent is a running agent.
type agent struct {
	Options
	started  time.Time
	health   *health.Tracker
	cluster  *watcher
	projects *deploy.Reconciler
	layers   *prover
	keeper   *keeper
	audit    *audit.Log // nil: none is kept
	metrics  *metric.Set
	requests metric.RequestCounter
	sessions sessions
	anchors  audit.Anchors
}

// Run runs the agent until ctx ends. Neither a gateway nor a cluster that is down ends it: they are states.
func Run(ctx context.Context, o Options) error {
	source := &cluster.Source{Path: o.Kubeconfig}
	a := &agent{Options: o, started: time.Now().UTC(), health: &health.Tracker{}}
	probe := cluster.Probe{Name: cluster.AgentProbe, Adopted: o.Distro == adopted}
	if o.Distro != onHost {
		probe.Far, probe.Dial = true, cluster.Far{Source: source}.DialContext
	}
	a.keeper = newKeeper(o, a.health)
	a.cluster = &watcher{source: source, health: a.health, onNode: !probe.Far, saw: a.keeper.saw}
	a.layers = newProver(source, a.health, filepath.Join(o.StateDir, health.RecordFile), probe, o.Log.With("service", "layers"))
	door := &porter{
		door:   nodes.Door{Distro: o.Distro, Closed: o.NoJoin, DataDir: o.DataDir},
		source: source, log: o.Log.With("service", "join"), wake: make(chan struct{}, 1),
	}
	a.projects = deploy.New(filepath.Join(o.StateDir, "desired"), source, o.Log.With("service", "projects"))
	a.projects.Follows = o.Identity.Machine() != ""
	allow := (&policy.Source{Path: o.Policy}).Judge
	a.projects.Allow = allow
	ways := reach.New(reach.Options{Source: source, Far: probe.Far, Allow: allow, Log: o.Log.With("service", "connections")})
	a.layers.mine = func() bool { _, leads := a.projects.Term(); return leads }

	a.audit = openAudit(o, a.health)
	a.newMetrics()
	defer func() {
		if err := a.audit.Close(); err != nil {
			o.Log.Error("the end of the audit log is not on the disk", "err", err)
		}
	}()

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return localapi.Serve(ctx, o.Socket, localapi.Answers{Status: a.status, Prove: a.prove, Metrics: a.metrics})
	})
	group.Go(func() error { return a.serveMetrics(ctx) })
	if o.Identity.Role() == wire.RoleWorker {
		watch := &workerWatch{health: a.health, dataDir: o.DataDir, balancer: balancer, kubelet: kubelet, node: a.node()}
		group.Go(func() error { return watch.run(ctx) })
	} else {
		group.Go(func() error { return a.layers.run(ctx) })
		group.Go(func() error { return a.cluster.run(ctx) })
		group.Go(func() error { return a.keeper.run(ctx) })
		group.Go(func() error { return a.projects.Run(ctx) })
		group.Go(func() error { return a.sumUp(ctx) })
		if o.Distro == onHost {
			group.Go(func() error { return door.run(ctx) })
		}
	}
	group.Go(func() error {
		return tunnel.Run(ctx, tunnel.Options{
			Identity:  o.Identity,
			Transport: o.Transport,
			Handler:   a.audited(handler(source, ways, door, allow, o.Log)),
			Health:    a.health,
			Log:       o.Log.With("service", "tunnel"),
			OnSession: a.link,
			OnStandby: a.standby,
			OnUp:      a.up,
			OnDown:    a.down,
		})
	})
	group.Go(func() error { return a.tellSystemd(ctx) })
	err := group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil // asked to end
	}
	return err
}

// prove proves the layers of the cluster, where this machine can.
func (a *agent) prove(ctx context.Context) error {
	if a.Identity.Role() == wire.RoleWorker {
		return reason.Newf(reason.Usage, "this machine is a worker of its cluster").WithFix("run it on one of the cluster's servers")
	}
	return a.layers.now(ctx)
}

// handler serves what the gateway may ask of this agent.
func handler(source *cluster.Source, ways *reach.Reach, door http.Handler,
	allow func(policy.Request) error, log *slog.Logger) http.Handler {
	kube := apiproxy.New(apiproxy.Options{Log: log, Allow: allow, Upstream: func(context.Context) (apiproxy.Upstream, error) {
		client, err := source.Client()
		if err != nil {
			return apiproxy.Upstream{}, err
		}
		return apiproxy.Upstream{Base: client.Base, HTTP: client.HTTP.Transport, Upgrade: client.Upgrade}, nil
	}})
	pages := deploy.Pages(source, ways.Dial, allow, log)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch { // no ServeMux: it would redirect paths that it thinks unclean
		case strings.HasPrefix(r.URL.Path, wire.PathAgentKube+"/"):
			kube.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, wire.PathAgentProject+"/"):
			pages.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, wire.PathAgentConnect+"/"):
			ways.ServeHTTP(w, r)
		case r.URL.Path == wire.PathAgentJoin:
			if err := allow(policy.Request{Verb: "create", Resource: "nodes"}); err != nil {
				refusal.Write(w, http.StatusForbidden, reason.Newf(reason.JoinForbidden, "%v", err))
				return
			}
			door.ServeHTTP(w, r)
		default:
			http.NotFound(w, r)
		}
	})
}

// sumUp keeps the condition that sums up the statuses of all documents.
func (a *agent) sumUp(ctx context.Context) error {
	for {
		list, changed := a.projects.Statuses()
		if _, leads := a.projects.Term(); leads {
			a.health.Set(desiredState(list, a.projects.Unread()))
		} else {
			a.health.Set(health.DesiredState, health.True, "Follows", "another server makes the documents true")
		}
		if err := pause(ctx, time.Hour, changed); err != nil {
			return err
		}
	}
}

func desiredState(list []wire.Status, unread error) (kind, status, code, message string) {
	for _, s := range list {
		for _, condition := range s.Conditions {
			if condition.Status != health.True {
				return health.DesiredState, health.False, condition.Reason, s.Kind + " " + s.Name + ": " + condition.Message
			}
		}
	}
	if unread != nil {
		return health.DesiredState, health.Unknown, "NotRead", unread.Error()
	}
	return health.DesiredState, health.True, "AsDesired", ""
}

// tellSystemd says that the agent is ready, how it is at every change, and at every watchdog interval that it is alive: a
// lock that is never released would keep the answer from it.
func (a *agent) tellSystemd(ctx context.Context) error {
	var systemd unit.Notifier
	if err := systemd.Ready(a.line()); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return systemd.Watchdog(ctx, func() bool { return a.status().Agent == a.Version })
	})
	group.Go(func() error {
		for {
			_, changed := a.health.Conditions()
			if err := systemd.Status(a.line()); err != nil {
				return err
			}
			if err := pause(ctx, time.Hour, changed); err != nil {
				return errors.Join(err, systemd.Stopping())
			}
		}
	})
	return group.Wait()
}

// line is the one-line state that systemctl status shows.
func (a *agent) line() string {
	return "tunnel: " + a.health.Get(health.Tunnel).Reason + ", cluster: " + a.health.Get(health.ClusterReachable).Reason
}

// status is what the local socket answers.
func (a *agent) status() localapi.Status {
	a.layers.load() // an install may have proved something since
	conditions, _ := a.health.Conditions()
	documents, _ := a.projects.Statuses()
	beat := a.cluster.heartbeat()
	return a.asNode(localapi.Status{
		Agent: a.Version, Started: a.started, Gateway: a.Identity.Gateway(), Cluster: a.Identity.Cluster(),
		ClusterID: a.Identity.ClusterID(), Distro: a.Distro, Kubernetes: beat.Kubernetes, Provider: beat.Provider,
		Sessions: a.sessions.told(), Conditions: conditions, Documents: documents, RSS: residentMemory(),
	})
}

// residentMemory returns the resident memory of this process in bytes, 0 if it cannot be read.
func residentMemory() int64 {
	content, err := os.ReadFile("/proc/self/statm")
	fields := strings.Fields(string(content))
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
