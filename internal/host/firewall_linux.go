package host

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// kernelSource is how rejects say that they were seen in the kernel.
const kernelSource = "kernel"

// liveRules asks the kernel for the rules of nftables, among them those of iptables-nft; only root may. Without the module
// nobody is asked, as the question would load it. Rules of the legacy back end are not among them.
func liveRules(s *System) (rules, error) {
	if _, err := s.lstat("/sys/module/nf_tables"); err != nil {
		return rules{}, nil
	}
	c, err := nftables.New()
	if err != nil {
		return rules{}, fmt.Errorf("cannot ask the kernel for its rules: %w", err)
	}
	return kernelRules(c)
}

// kernelRules reads the chains that see what comes in and what is forwarded. A policy of one of them is enough to drop.
func kernelRules(c *nftables.Conn) (rules, error) {
	chains, err := c.ListChains()
	if err != nil {
		return rules{}, fmt.Errorf("cannot ask the kernel for its rules: %w", err)
	}
	var r rules
	for _, chain := range chains {
		if chain.Hooknum == nil || chain.Type != nftables.ChainTypeFilter || !forHosts(chain.Table.Family) {
			continue
		}
		input, forward := *chain.Hooknum == *nftables.ChainHookInput, *chain.Hooknum == *nftables.ChainHookForward
		if !input && !forward {
			continue
		}
		place := clip(fmt.Sprintf("%s: table %s, chain %s", kernelSource, chain.Table.Name, chain.Name))
		drops := chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop
		switch {
		case drops && input:
			r.rejects = append(r.rejects, place+": policy drop")
		case drops:
			r.forward = "drop"
		case forward && r.forward == "":
			r.forward = "accept"
		}
		list, err := c.GetRules(chain.Table, chain)
		if err != nil {
			return r, fmt.Errorf("cannot ask the kernel for its rules: %w", err)
		}
		for _, rule := range list {
			if how := turnsAway(rule.Exprs); how != "" {
				r.rejects = append(r.rejects, place+": "+how)
				break
			}
		}
	}
	return r, nil
}

func forHosts(f nftables.TableFamily) bool {
	return f == nftables.TableFamilyINet || f == nftables.TableFamilyIPv4 || f == nftables.TableFamilyIPv6
}

// turnsAway returns "reject" or "drop" for a rule that does so whatever the packet is, else "".
func turnsAway(exprs []expr.Any) string {
	how := ""
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Counter, *expr.Log:
		case *expr.Match: // of iptables-nft
			if e.Name != "comment" {
				return ""
			}
		case *expr.Reject:
			how = "reject"
		case *expr.Target:
			if e.Name == "REJECT" {
				how = "reject"
			}
		case *expr.Verdict:
			if e.Kind == expr.VerdictDrop {
				how = "drop"
			}
		default:
			return ""
		}
	}
	return how
}
