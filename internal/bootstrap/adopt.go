package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// reviewTimeout is how long an API server may take to say what is allowed: some 60 short questions.
const reviewTimeout = 30 * time.Second

// askClusters asks the running clusters that somebody else installed what they are, and the one on another machine that the
// kubeconfig leads to if one is to be adopted. It changes nothing.
func (o *Options) askClusters(ctx context.Context, all []host.Cluster) {
	var places []cluster.Place
	var of []int
	for i, c := range all {
		meant := c.State == host.Running || c.State == host.Remote && o.Request.Distro == distro.Existing
		if meant && !c.Ours.Or(true) && c.Kubeconfig != "" {
			places, of = append(places, cluster.Place{Kubeconfig: c.Kubeconfig, Context: c.Context}), append(of, i)
		}
	}
	for i, seen := range cluster.Survey(ctx, places) {
		a := host.ClusterAnswer{Server: seen.Server, Kubernetes: seen.Kubernetes, Nodes: seen.Nodes, Ready: seen.Ready, Provider: seen.Provider}
		var known *reason.Error
		if errors.As(seen.Err, &known) {
			a.Code, a.Trouble = string(known.Code), known.Why()
		}
		all[of[i]].Answer = &a
	}
}

// adoptable asks the cluster that is to be adopted whether it can be: whether it answers, whether there is nothing of somebody
// else's where ours goes, and whether the kubeconfig may do all that an install does. It changes nothing.
func (o *Options) adoptable(ctx context.Context, d distro.Decision) error {
	if d.Chosen != distro.Existing {
		return nil
	}
	seen := cluster.Look(ctx, d.Kubeconfig, d.Context)
	if seen.Err != nil {
		return seen.Err
	}
	client, err := cluster.ConnectContext(d.Kubeconfig, d.Context)
	if err != nil {
		return cluster.Trouble(err, d.Kubeconfig, nil)
	}
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	missing, err := client.Missing(ctx, cluster.InstallNeeds())
	if err != nil {
		return cluster.Trouble(err, d.Kubeconfig, client)
	}
	if len(missing) > 0 {
		return lacking(missing, client.WhoAmI(ctx), d)
	}
	if err := client.AccountTaken(ctx, standingTo(distro.Existing)); err != nil {
		return cluster.Trouble(err, d.Kubeconfig, client)
	}
	if o.Events != nil {
		o.Events(event("adopt", "Adopting "+adoptedText(seen, d), seen))
	}
	return nil
}

// adoptedText says which cluster is adopted: "Kubernetes v1.30.4-eks-a737599 (eks) at https://..., 3 of 3 nodes ready, by /root/.kube/config".
func adoptedText(s cluster.Seen, d distro.Decision) string {
	text := "Kubernetes " + s.Kubernetes
	if s.Provider != "" {
		text += " (" + s.Provider + ")"
	}
	text += fmt.Sprintf(" at %s, %d of %d nodes ready, by %s", s.Server, s.Ready, s.Nodes, d.Kubeconfig)
	if d.Context != "" {
		text += ", context " + d.Context
	}
	if s.Insecure {
		text += "; its certificate is not looked at (insecure-skip-tls-verify): who is on the way can read and change all, the agent's token too"
	}
	return text
}

// lacking tells every right that is missing, and how an administrator gives them.
func lacking(missing []cluster.Need, user string, d distro.Decision) error {
	var all []string
	for _, n := range missing {
		all = append(all, n.String())
	}
	who := user
	if who == "" {
		who = "its user"
	}
	e := reason.Newf(reason.ClusterRights, "%s: %s may not: %s", d.Kubeconfig, who, strings.Join(all, "; "))
	if user != "" {
		e = e.WithFix("let an administrator of the cluster run: pipeops-agent access manifest --user " + distro.Word(user) + " | kubectl apply -f -")
	}
	return e
}
