// Package bootstrap is the way of an install: facts, decision, enrolment, plan, proof. It frames the steps of the chosen
// distribution with those of the agent itself.
package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/transport"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Options say what is wanted. The token is asked for only when the machine is not enrolled yet.
type Options struct {
	Gateway string
	Cluster string
	Token   func() (wire.Token, error)

	Transport *transport.Dialer // how the gateway is reached; nil: directly

	Request distro.Request
	Install distro.Install // settings of the distribution; Units and what the decision knows are added
	Node    *NodeOptions   // the machine joins a cluster that is there; nil: it gets one of its own
	// Config encodes the agent's configuration with what was chosen and agreed to.
	Config func(d distro.Decision, consent []reason.Cost) ([]byte, error)
	// Remember encodes what a later run needs to go on by itself, with what was agreed to; nil: nothing goes on by itself.
	Remember func(consent []reason.Cost) (json.RawMessage, error)
	// Settings returns the settings of the last install and those of this one, so that the difference can be shown; no
	// settings before mean that there was no install. nil: nothing is compared.
	Settings func(d distro.Decision, consent []reason.Cost) (before, after []Setting)
	// Agree asks the user for consent to what these remedies cost; nil means that nobody can be asked.
	Agree func(context.Context, []distro.Remedy) (bool, error)

	ConfigPath string
	StateDir   string
	Socket     string        // of the running agent
	TokenLife  time.Duration // how long a token of the agent's account is used; 0: [cluster.TokenLife]
	Program    string        // path of this binary
	Version    string

	SettingsHidden bool     // those of the last install could not be read, and are not among these
	Notices        []string // what people should know of these, told first

	Wait     time.Duration // how long package managers and cloud-init are waited for; see [DefaultWait]
	WaitLock time.Duration // the same for another pipeops-agent

	Host   *host.System
	Events func(wire.Event)
	Log    *slog.Logger

	alone  bool // it was started by the unit that resumes
	asRoot bool // the plan is made as if root asked for it
	tried  trial.Results
}

// Plan is what an install would do.
type Plan struct {
	Facts    host.Facts      `json:"-"`
	Decision distro.Decision `json:"decision"`
	Steps    []PlannedStep   `json:"steps"`

	DryRun      bool            `json:"dry_run,omitempty"`
	WithoutRoot bool            `json:"without_root,omitempty"` // of a dry run: it is the plan of root's, as far as others see the machine
	Unavailable bool            `json:"unavailable,omitempty"`  // this version cannot install what was chosen
	Settings    []SettingChange `json:"settings,omitempty"`     // that differ from those of the last install

	SettingsHidden bool `json:"settings_hidden,omitempty"` // the settings of the last install are for root's eyes, and not in this plan
}

// PlannedStep is a step as people and programs see it before it is run.
type PlannedStep struct {
	ID      string   `json:"id"`
	Title   string   `json:"title"`
	Changes []string `json:"changes"`
	Bytes   int64    `json:"bytes,omitempty"` // to download
	About   bool     `json:"about,omitempty"` // bytes is a guess
	Proof   bool     `json:"-"`               // it changes nothing, whatever the machine is like

	State string `json:"state,omitempty"` // of a dry run: see [WouldRun]
	Note  string `json:"note,omitempty"`  // why it is unknown
}

// MakePlan looks at the machine, decides, and lists the steps. It changes and tries nothing: trials are
// results that are known already, such as those of a captured machine; nil means none.
func MakePlan(ctx context.Context, o Options, trials trial.Results) (Plan, error) {
	p, _, err := o.plan(ctx, trials, func(host.Facts) distro.Units { return nil })
	return p, err
}

// plan returns a plan and its steps, which can be run, or asked whether they are done, only with units.
func (o *Options) plan(ctx context.Context, trials trial.Results, units func(host.Facts) distro.Units) (Plan, []plan.Step, error) {
	o.Host.DataDir = o.Request.DataDir
	p := Plan{Facts: host.Collect(ctx, o.Host), Steps: []PlannedStep{}, SettingsHidden: o.SettingsHidden}
	if o.asRoot {
		p.Facts = asRoot(p.Facts)
	}
	if o.Host.Live() {
		o.askClusters(ctx, p.Facts.Clusters)
	}
	if o.Node != nil {
		if err := o.planNode(); err != nil {
			return p, nil, err
		}
	}
	p.Decision = distro.Decide(p.Facts, trials, o.Request)
	if p.Decision.Chosen == "" {
		return p, nil, nil
	}
	if available(p.Facts, p.Decision) != nil {
		p.Unavailable = true
		return p, nil, nil
	}
	p.Settings = o.difference(p.Decision)
	o.Install = o.Install.On(p.Facts)
	o.Install.Proxy = distro.FindProxies(o.Install.Proxy, p.Facts, p.Decision, o.Install.NodeName, o.Gateway)
	o.Install.Shown = true
	if !o.Host.Live() && o.Install.Root == "" { // a captured machine's steps look at its files, not at ours
		o.Install.Root = o.Host.Root
	}
	if o.Node != nil {
		o.prepareNode(p.Facts, p.Decision)
	}
	steps, err := o.changes(p.Decision, units(p.Facts))
	if err != nil {
		return p, nil, err
	}
	if o.Node != nil {
		steps = append(steps, o.nodeProofs(p.Decision, p.Facts)...)
	} else {
		steps = append(steps, o.proofs(nil, layersOf(p.Decision), p.Decision, p.Facts)...)
	}
	for _, s := range steps {
		p.Steps = append(p.Steps, PlannedStep{ID: s.ID, Title: s.Title, Changes: append([]string{}, s.Changes...), Bytes: s.Bytes, About: s.About, Proof: s.Prepare == nil && s.Do == nil && s.Done == nil})
	}
	return p, steps, nil
}

// Install makes the machine what the options say, or goes on where an earlier call was stopped; what goes on by itself
// yields to it. It returns how many steps changed something.
func Install(ctx context.Context, o Options) (changed int, err error) {
	return o.below(ctx, installCommand, Options.install)
}

// install is one run of an install, below its guard.
func (o Options) install(ctx context.Context, guard *Guard) (changed int, err error) {
	began := time.Now()
	o.protect(guard)
	story := &story{show: o.Events, log: o.Log, through: o.Transport}
	o.Events = story.tell
	defer func() {
		err = guard.End(ctx, named(err))
		story.close(ctx, err)
	}()
	if guard.Resumes() {
		o.Events(guard.resumed())
		if guard.alone { // it was enrolled before, and may be refused before it comes to that again
			if _, err := o.enrolled(ctx, story); err != nil {
				return 0, err
			}
		}
	}
	for _, notice := range o.Notices {
		o.Events(event("notice", notice, nil))
	}
	facts, decision, err := o.judge(ctx)
	if err != nil {
		return 0, err
	}
	o.Install = o.Install.On(facts)
	o.Install.Proxy = distro.FindProxies(o.Install.Proxy, facts, decision, o.Install.NodeName, o.Gateway)
	units, closeUnits, err := connect(ctx, o.Install)
	if err != nil {
		return 0, err
	}
	defer closeUnits()
	o.Install.Units = units
	o.Install.FreePackages = func(ctx context.Context) error { return o.freePackages(ctx) }
	guard.Store.Undo = o.Install.Undo()
	guard.Store.Undo[inCluster] = takeBack(decision.Kubeconfig, decision.Context, decision.Chosen != distro.Existing)
	changes, err := o.changes(decision, units)
	if err != nil {
		return 0, err
	}
	config, err := o.Config(decision, o.Request.Consent)
	if err != nil {
		return 0, err
	}
	if err := keepFirst(ctx, o.StateDir, guard.Store, facts); err != nil {
		return 0, err
	}
	id, err := o.enrolled(ctx, story)
	if err != nil {
		return 0, err
	}
	o.Events(event("enrolled", fmt.Sprintf("Enrolled at %s as cluster %s", id.Gateway(), id.Cluster()), nil))
	runner, changed, err := o.apply(ctx, guard, installCommand, changes, config)
	if err != nil {
		return changed, err
	}
	if err := o.prove(ctx, runner, decision, facts, changed > 0 || guard.Resumes()); err != nil {
		return changed, err
	}
	if hint := distro.AtBoot(facts); hint != "" && o.Install.Supervised {
		o.Events(event("notice", "Nothing starts the services of this machine when it starts. To have that: "+hint, nil))
	}
	done := event("done", summary(changed, decision, id), nil)
	done.DurationMS = time.Since(began).Milliseconds()
	o.Events(done)
	return changed, nil
}

func summary(changed int, d distro.Decision, id *identity.Identity) string {
	if changed == 0 {
		return fmt.Sprintf("Nothing to change: %s runs here and is connected to %s as cluster %s", d.Chosen, id.Gateway(), id.Cluster())
	}
	return fmt.Sprintf("Done: %s runs here and is connected to %s as cluster %s\n"+
		"Next, here: pipeops-agent status; at the gateway: pipeops-gateway kubeconfig %s", d.Chosen, id.Gateway(), id.Cluster(), id.Cluster())
}

// enrolled returns the identity of this machine, and lets the gateway hear the story from now on.
func (o Options) enrolled(ctx context.Context, s *story) (*identity.Identity, error) {
	id, err := o.enroll(ctx)
	if err == nil {
		s.reportTo(id)
	}
	return id, err
}

// enroll returns the identity of this machine, and gets one with the token if there is none yet.
func (o Options) enroll(ctx context.Context) (*identity.Identity, error) {
	dir := filepath.Join(o.StateDir, "identity")
	id, err := identity.Load(dir)
	if err == nil {
		return id, o.sameIdentity(id)
	}
	if !reason.Is(err, reason.IdentityMissing) {
		return nil, err
	}
	token, err := o.Token()
	if err != nil {
		return nil, err
	}
	return identity.Enroll(ctx, identity.Options{Dir: dir, Gateway: o.Gateway, Token: token, Cluster: o.Cluster, Agent: o.Version, Transport: o.Transport})
}

// sameIdentity refuses to be enrolled twice: at another gateway, or under another name.
func (o Options) sameIdentity(id *identity.Identity) error {
	if id.Node() != "" {
		return reason.Newf(reason.ClusterMember, "this machine is %s %s of cluster %s of %s", id.Role(), id.Node(), id.Cluster(), id.Gateway())
	}
	address, err := identity.Address(o.Gateway)
	if err != nil {
		return err
	}
	if address != id.Gateway() || o.Cluster != id.Cluster() {
		return reason.Newf(reason.AlreadyEnrolled, "this machine is cluster %s of %s, not %s of %s", id.Cluster(), id.Gateway(), o.Cluster, address)
	}
	return nil
}

// changes lists the steps that change the machine, in their order: the distribution, the agent, and what needs an API
// server that answers. units is nil where the steps are only shown.
func (o Options) changes(d distro.Decision, units distro.Units) ([]plan.Step, error) {
	chosen, ok := d.Distribution()
	if !ok {
		return nil, fmt.Errorf("cannot find the distribution %q", d.Chosen)
	}
	in := o.Install
	in.Remedies = d.Remedies
	in.Units = units
	in.Look = func(ctx context.Context) host.Facts { return host.Collect(ctx, o.Host) }
	in.Suspect = o.tellSuspicion
	var steps []plan.Step
	if chosen.Steps != nil {
		var err error
		if steps, err = chosen.Steps(in); err != nil {
			return nil, err
		}
	}
	resume, err := distro.ResumeService(in, o.Program, !o.alone)
	if err != nil {
		return nil, err
	}
	steps = append([]plan.Step{resume}, steps...)
	if in.Supervised {
		steps = append([]plan.Step{distro.Supervisor(in, o.supervisorSetup(in))}, steps...)
	}
	config, err := o.Config(d, o.Request.Consent)
	if err != nil {
		return nil, err
	}
	agent, err := o.agentSteps(in, config, d)
	if err != nil {
		return nil, err
	}
	if o.Request.Node == wire.RoleWorker { // it has nothing to do with the API
		return append(steps, agent...), nil
	}
	source := sourceOf(d)
	steps = append(append(steps, agent...), o.apiStep(source, d), o.accountStep(source, d))
	if o.Node == nil { // else the cluster is there, with all that the gateway needs
		steps = append(steps, accessStep(source))
	}
	credential, ok, err := distro.CredentialService(in, o.Program)
	if ok {
		steps = append(steps, credential)
	}
	return steps, err
}

// event makes an event that is not a step. Detail is for programs.
func event(kind, message string, detail any) wire.Event {
	e := wire.Event{Time: time.Now().UTC(), Kind: kind, Message: message}
	if detail != nil {
		if content, err := json.Marshal(detail); err == nil {
			e.Detail = content
		}
	}
	return e
}

// stepEvent makes a wire event of a plan's.
func stepEvent(e plan.Event) wire.Event {
	out := wire.Event{Time: time.Now().UTC(), Kind: "step", Step: e.Step, Title: e.Title, State: string(e.State),
		Bytes: e.Bytes, Total: e.Total, DurationMS: e.Duration.Milliseconds()}
	if e.Err != nil {
		out.Message = e.Err.Error()
		var known *reason.Error
		if errors.As(e.Err, &known) {
			out.Code = string(known.Code)
		}
	}
	return out
}
