package bootstrap

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/nodes"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// joinCommand is the name of a join in the journal, and in what is unfinished.
const joinCommand = "join"

// NodeOptions say what a machine becomes in a cluster that is there.
type NodeOptions struct {
	Role wire.Role // what it was told to become; "" means what the token says
	Name string    // of its node; "" means the machine's own
	// Config encodes the agent's configuration with the cluster's name, the kubeconfig and what was agreed to.
	Config func(cluster, kubeconfig string, consent []reason.Cost) ([]byte, error)
}

// Join makes the machine a node of the cluster that the token is for, or goes on where an earlier call was stopped. Nothing of the
// machine is changed before the cluster has said that it takes it and its servers have been reached. It returns how many steps
// changed something. Options.Node says as what it joins; of Options.Install only what a node has of its own counts.
func Join(ctx context.Context, o Options) (changed int, err error) {
	return o.below(ctx, joinCommand, Options.join)
}

// JoinOperation returns how a join is gone on with. options makes its options of the settings that Remember has encoded.
func JoinOperation(options func(settings json.RawMessage) (Options, error)) Operation {
	return operation(joinCommand, options, Options.join)
}

// join is one run of a join, below its guard.
func (o Options) join(ctx context.Context, guard *Guard) (changed int, err error) {
	began := time.Now()
	o.protect(guard)
	story := &story{show: o.Events, log: o.Log, through: o.Transport}
	o.Events = story.tell
	defer func() {
		err = guard.End(ctx, named(err))
		story.close(ctx, err)
	}()
	id, way, err := o.member()
	if err != nil {
		return 0, err
	}
	if guard.Resumes() {
		o.Events(guard.resumed())
	}
	for _, notice := range o.Notices {
		o.Events(event("notice", notice, nil))
	}
	o.become(id, way)
	if id != nil {
		story.reportTo(id)
	}
	facts, decision, err := o.judge(ctx)
	if err != nil {
		return 0, err
	}
	o.prepareNode(facts, decision)
	if err := keepFirst(ctx, o.StateDir, guard.Store, facts); err != nil {
		return 0, err
	}
	if id == nil || tokenEnded(way, decision) {
		if id, way, err = o.askToJoin(ctx); err != nil {
			return 0, err
		}
		story.reportTo(id)
		if decision, err = o.judgeAs(ctx, id, way, facts); err != nil {
			return 0, err
		}
		o.prepareNode(facts, decision)
	}
	o.Events(event("enrolled", fmt.Sprintf("%s takes this machine as %s %s of cluster %s", id.Gateway(), id.Role(), id.Node(), id.Cluster()), nil))
	if o.Install.Join.Server, err = o.findServer(ctx, way, facts); err != nil {
		return 0, err
	}
	return o.becomeNode(ctx, guard, id, facts, decision, began)
}

// tokenEnded reports whether the token of k3s that a worker was told has ended before it was used: the join was cut off, and too long
// ago. A worker that has come once has certificates of its own, and the token of servers does not end.
func tokenEnded(way identity.Joined, d distro.Decision) bool {
	return way.Role == wire.RoleWorker && !way.Told.IsZero() && time.Since(way.Told) > nodes.TokenLife && !exists(d.Kubeconfig)
}

// becomeNode runs the plan of a join.
func (o Options) becomeNode(ctx context.Context, guard *Guard, id *identity.Identity, facts host.Facts, d distro.Decision, began time.Time) (changed int, err error) {
	units, closeUnits, err := connect(ctx, o.Install)
	if err != nil {
		return 0, err
	}
	defer closeUnits()
	o.Install.Units = units
	o.Install.FreePackages = func(ctx context.Context) error { return o.freePackages(ctx) }
	guard.Store.Undo = o.Install.Undo()
	o.Config = o.nodeConfig(id.Cluster())
	changes, err := o.changes(d, units)
	if err != nil {
		return 0, err
	}
	config, err := o.Config(d, o.Request.Consent)
	if err != nil {
		return 0, err
	}
	runner, changed, err := o.apply(ctx, guard, joinCommand, changes, config)
	if err != nil {
		return changed, err
	}
	if _, err := runner.Run(ctx, plan.Plan{Name: "proof", Steps: o.nodeProofs(d, facts)}); err != nil {
		return changed, err
	}
	done := event("done", joinSummary(changed, id), nil)
	done.DurationMS = time.Since(began).Milliseconds()
	o.Events(done)
	return changed, nil
}

func joinSummary(changed int, id *identity.Identity) string {
	is := fmt.Sprintf("this machine is %s %s of cluster %s of %s", id.Role(), id.Node(), id.Cluster(), id.Gateway())
	if changed == 0 {
		return "Nothing to change: " + is
	}
	return "Done: " + is + "\nNext, here: pipeops-agent status; at the gateway: pipeops-gateway nodes " + id.Cluster()
}

// nodeConfig is Config for a machine that joins.
func (o Options) nodeConfig(cluster string) func(distro.Decision, []reason.Cost) ([]byte, error) {
	return func(d distro.Decision, consent []reason.Cost) ([]byte, error) {
		return o.Node.Config(cluster, d.Kubeconfig, consent)
	}
}

// member returns the identity and the way into the cluster that this machine has joined before; nil if it has joined none. A
// machine that is something else already is refused.
func (o Options) member() (*identity.Identity, identity.Joined, error) {
	dir := o.identityDir()
	id, err := identity.Load(dir)
	if reason.Is(err, reason.IdentityMissing) {
		return nil, identity.Joined{}, nil
	}
	if err != nil {
		return nil, identity.Joined{}, err
	}
	if id.Node() == "" {
		return nil, identity.Joined{}, reason.Newf(reason.AlreadyEnrolled, "this machine has enrolled the cluster %s at %s", id.Cluster(), id.Gateway()).
			WithFix("join with another machine, or remove this cluster first: pipeops-agent uninstall")
	}
	is := fmt.Sprintf("this machine is %s %s of cluster %s of %s", id.Role(), id.Node(), id.Cluster(), id.Gateway())
	leave := "run join without --gateway, --role and --node-name to mend it, or take it out first: pipeops-agent uninstall"
	if address, err := identity.Address(o.Gateway); err != nil {
		return nil, identity.Joined{}, err
	} else if address != id.Gateway() {
		return nil, identity.Joined{}, reason.Newf(reason.AlreadyEnrolled, "%s", is).WithFix(leave)
	}
	if o.Node.Role != "" && o.Node.Role != id.Role() || o.Node.Name != "" && o.Node.Name != id.Node() {
		return nil, identity.Joined{}, reason.Newf(reason.ClusterMember, "%s", is).WithFix(leave)
	}
	way, err := identity.LoadJoined(dir)
	if errors.Is(err, fs.ErrNotExist) { // with a new token the machine can ask again
		return nil, identity.Joined{}, nil
	}
	return id, way, err
}

func (o Options) identityDir() string { return filepath.Join(o.StateDir, "identity") }

// become makes the options those of what the machine is told to become: what it was before, what the user says, or a worker.
func (o *Options) become(id *identity.Identity, way identity.Joined) {
	o.Request.Node = cmp.Or(o.Node.Role, wire.RoleWorker)
	o.Install.Join = &distro.JoinInfo{Role: o.Request.Node}
	if id == nil {
		return
	}
	o.Request.Node, o.Request.Kubernetes, o.Install.Version = way.Role, way.K3sVersion, way.K3sVersion
	o.Install.NodeName = id.Node()
	o.Install.Join = &distro.JoinInfo{Role: way.Role, Server: way.Servers[0], Token: way.Token(), Settings: way.Settings}
	if pods, services := way.Settings["cluster-cidr"], way.Settings["service-cidr"]; len(pods) > 0 && len(services) > 0 {
		o.Request.Networks = []string{firstOf(pods[0]), firstOf(services[0])}
	}
	o.Request.Peers = nil
	for _, server := range way.Servers {
		if u, err := url.Parse(server); err == nil {
			o.Request.Peers = append(o.Request.Peers, u.Hostname())
		}
	}
}

// firstOf is the first network of a pair for two families.
func firstOf(networks string) string {
	first, _, _ := strings.Cut(networks, ",")
	return first
}

// prepareNode completes what the steps need to know of this machine.
func (o *Options) prepareNode(facts host.Facts, d distro.Decision) {
	o.Install.NodeName = o.nodeName(facts, d)
	if server := heldServer(facts); server != "" {
		o.Install.Join.Server = server
	}
	o.Install = o.Install.On(facts)
	o.Install.Proxy = distro.FindProxies(o.Install.Proxy, facts, d, o.Install.NodeName, o.Gateway).Past(append(slices.Clone(o.Request.Peers), o.Request.Networks...))
}

// nodeName is the name that the node gets: what was told or was before, one that a remedy has found, or that of the machine.
func (o Options) nodeName(facts host.Facts, d distro.Decision) string {
	name := cmp.Or(o.Install.NodeName, o.Node.Name)
	for _, r := range d.Remedies {
		if r.ID == distro.RemedyNodeName && len(r.Values) == 1 {
			name = cmp.Or(name, r.Values[0])
		}
	}
	return cmp.Or(name, strings.ToLower(facts.Identity.Hostname))
}

// judgeAs judges the machine again by what the cluster has said: the role may be another one than was thought, and its networks
// are known now.
func (o *Options) judgeAs(ctx context.Context, id *identity.Identity, way identity.Joined, facts host.Facts) (distro.Decision, error) {
	thought := o.Request.Node
	o.become(id, way)
	d, err := o.decide(ctx, facts, o.tried)
	if err != nil {
		return d, err
	}
	if thought != o.Request.Node {
		o.Events(event("decision", d.Text(), d))
	}
	if all := len(way.Servers) + 1; o.Request.Node == wire.RoleServer && all%2 == 0 {
		o.Events(event("notice", fmt.Sprintf("With %d servers the cluster bears the loss of no more of them than with %d: join another one", all, all-1), nil))
	}
	return d, Refusal(d)
}

// planNode makes the options those of a join that is only shown. Nobody is asked: what the cluster would say is not known, unless
// the machine has joined before.
func (o *Options) planNode() error {
	id, way, err := o.member()
	if errors.Is(err, fs.ErrPermission) {
		err = nil
	}
	if err != nil {
		return err
	}
	o.become(id, way)
	o.Config = o.nodeConfig("")
	if id != nil {
		o.Config = o.nodeConfig(id.Cluster())
	}
	return nil
}
