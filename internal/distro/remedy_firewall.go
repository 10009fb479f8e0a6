package distro

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/command"
)

// networks returns the values as networks, as the firewalls print them.
func (r Remedy) networks() ([]string, error) {
	var all []string
	for _, v := range r.Values {
		net, err := netip.ParsePrefix(v)
		if err != nil || net != net.Masked() || net.Bits() == 0 {
			return nil, r.invalid(v)
		}
		all = append(all, net.String())
	}
	if len(all) == 0 {
		return nil, r.invalid("")
	}
	return all, nil
}

// firewallRule is a rule as it is looked for, made and undone.
type firewallRule struct {
	text  string // for people and the ledger
	there func(ctx context.Context) (bool, error)
	add   []string
	undo  plan.Reversal
}

// firewallStep makes rules where the firewall is on; where it is off, nothing is in the way of pods.
func (k *k3sInstall) firewallStep(id, title string, on func(context.Context) (bool, error), rules []firewallRule) plan.Step {
	step := plan.Step{
		ID: id, Title: title,
		Done: func(ctx context.Context) (bool, error) {
			if active, err := on(ctx); err != nil || !active {
				return err == nil, err
			}
			left, err := absent(ctx, rules)
			return len(left) == 0, err
		},
		Do: func(ctx context.Context, rec *plan.Recorder) error {
			left, err := absent(ctx, rules)
			if err != nil {
				return err
			}
			for _, rule := range left {
				err := rec.Act(plan.Kind(id), rule.text, rule.undo, func() error { return k.change(ctx, rule.add...) })
				if err != nil {
					return err
				}
			}
			return nil
		},
		Prove: func(ctx context.Context) error {
			left, err := absent(ctx, rules)
			if err == nil && len(left) > 0 {
				err = fmt.Errorf("the firewall took the rule %q, but does not have it", left[0].text)
			}
			return err
		},
	}
	for _, rule := range rules {
		step.Changes = append(step.Changes, rule.text)
	}
	return step
}

// absent returns the rules that are not there.
func absent(ctx context.Context, rules []firewallRule) ([]firewallRule, error) {
	var left []firewallRule
	for _, rule := range rules {
		there, err := rule.there(ctx)
		if err != nil {
			return nil, err
		}
		if !there {
			left = append(left, rule)
		}
	}
	return left, nil
}

// ufw lets packets of the networks in, and lets them be forwarded both ways.
func (k *k3sInstall) ufw(r Remedy) (plan.Step, error) {
	nets, err := r.networks()
	if err != nil {
		return plan.Step{}, err
	}
	var rules []firewallRule
	for _, net := range nets {
		for _, rule := range [][]string{{"allow", "from", net}, {"route", "allow", "from", net}, {"route", "allow", "to", net}} {
			remove := slices.Concat([]string{"ufw", "delete"}, rule)
			if rule[0] == "route" {
				remove = slices.Concat([]string{"ufw", "route", "delete"}, rule[1:])
			}
			rules = append(rules, firewallRule{
				text:  "ufw " + strings.Join(rule, " "),
				there: func(ctx context.Context) (bool, error) { return k.ufwHas(ctx, rule) },
				add:   append([]string{"ufw"}, rule...), undo: plan.Reversal{Undo: remove},
			})
		}
	}
	on := func(ctx context.Context) (bool, error) {
		out, err := k.run(ctx, "ufw", "status")
		return strings.HasPrefix(string(out), "Status: active"), err
	}
	return k.firewallStep("ufw", "Let pods through ufw", on, rules), nil
}

// ufwHas reports whether ufw has the rule, with or without a comment.
func (k *k3sInstall) ufwHas(ctx context.Context, rule []string) (bool, error) {
	out, err := k.run(ctx, "ufw", "show", "added")
	if err != nil {
		return false, err
	}
	want := "ufw " + strings.Join(rule, " ")
	for line := range strings.Lines(string(out)) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), " comment ")
		if line == want {
			return true, nil
		}
	}
	return false, nil
}

// firewalld puts the networks into the zone trusted, now and for its next start.
func (k *k3sInstall) firewalld(r Remedy) (plan.Step, error) {
	nets, err := r.networks()
	if err != nil {
		return plan.Step{}, err
	}
	var rules []firewallRule
	for _, net := range nets {
		for _, lasting := range []bool{true, false} {
			base, text := []string{"firewall-cmd", "--zone=trusted"}, "zone trusted, now: "+net
			if lasting {
				base, text = []string{"firewall-cmd", "--permanent", "--zone=trusted"}, "zone trusted, permanently: "+net
			}
			query := append(slices.Clone(base), "--query-source="+net)
			undo := plan.Reversal{Check: query, Undo: append(slices.Clone(base), "--remove-source="+net)}
			if lasting { // a firewalld that is off answers nothing, and keeps it: that is told, not taken for undone
				undo.Check, undo.Lax = nil, true
			}
			rules = append(rules, firewallRule{
				text:  text,
				there: func(ctx context.Context) (bool, error) { return k.succeeds(ctx, query...) },
				add:   append(slices.Clone(base), "--add-source="+net), undo: undo,
			})
		}
	}
	on := func(ctx context.Context) (bool, error) { return k.succeeds(ctx, "firewall-cmd", "--state") }
	return k.firewallStep("firewalld", "Let pods through firewalld", on, rules), nil
}

// succeeds reports whether a program ends with 0. That it cannot be started is an error.
func (k *k3sInstall) succeeds(ctx context.Context, argv ...string) (bool, error) {
	_, err := k.run(ctx, argv...)
	var ended *command.Error
	if errors.As(err, &ended) && ended.Exit > 0 {
		return false, nil
	}
	return err == nil, err
}
