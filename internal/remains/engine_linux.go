package remains

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// engineBridge is the link that a Docker engine makes for containers that ask for no network.
const engineBridge = "docker0"

// ofEngine reports whether a chain is one of Docker, by the names that it gives.
func ofEngine(name string) bool { return name == "DOCKER" || strings.HasPrefix(name, "DOCKER-") }

// policyDrops is how the list of chains says what the policy of a chain is.
const policyDrops = " drops"

// engineRules are the chains of nftables, those of iptables-nft among them, as rules has them, and which of them drop what no rule
// takes. Away go Docker's chains, the rules that lead into them, and those for its bridge. Its policy for what is forwarded goes too, unless
// rules that somebody has made since may count on it.
func (e Env) engineRules() Thing {
	return Thing{
		Kind: "engine-rules", Title: "rules of the container engine",
		List: listing(func(c *nftables.Conn) ([]string, error) {
			all, err := listChains(c)
			if err != nil {
				return nil, err
			}
			chains, err := c.ListChains()
			for _, chain := range chains {
				if chain.Table != nil && drops(chain) {
					all = append(all, chainName(chain)+policyDrops)
				}
			}
			return all, err
		}),
		Remove: func(_ context.Context, before []string) ([]string, error) {
			c, err := nftables.New()
			if err != nil {
				return []string{"rules of the container engine: " + err.Error()}, nil
			}
			left, err := removeEngineRules(c, before)
			if err == nil {
				err = removeEmpty(c, before)
			}
			if err != nil {
				left = append(left, "rules of the container engine: "+err.Error())
			}
			return left, nil
		},
	}
}

func drops(chain *nftables.Chain) bool {
	return chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop
}

func removeEngineRules(c *nftables.Conn, before []string) (left []string, err error) {
	chains, err := c.ListChains()
	if err != nil {
		return nil, err
	}
	chains = slices.DeleteFunc(chains, func(chain *nftables.Chain) bool { return chain.Table == nil || !ofIptables(chain.Table) })
	ours := slices.DeleteFunc(slices.Clone(chains), func(chain *nftables.Chain) bool {
		return !ofEngine(chain.Name) || slices.Contains(before, chainName(chain))
	})
	if len(ours) == 0 {
		return nil, nil
	}
	for _, chain := range chains {
		if slices.Contains(ours, chain) {
			continue
		}
		rules, err := c.GetRules(chain.Table, chain)
		if err != nil {
			return nil, fmt.Errorf("cannot list the rules of %s: %w", chainName(chain), err)
		}
		others := 0
		for _, rule := range rules {
			leads := slices.ContainsFunc(ours, func(own *nftables.Chain) bool {
				return own.Table.Name == chain.Table.Name && own.Table.Family == chain.Table.Family && jumpsTo(rule, own.Name)
			})
			if !leads && (!slices.Contains(baseChains(), chain.Name) || !onLink(rule, engineBridge) || comment(rule) != "") {
				others++
				continue
			}
			if err := c.DelRule(rule); err != nil {
				return nil, err
			}
		}
		forwards := chain.Table.Name == "filter" && chain.Name == "FORWARD"
		switch known := slices.Contains(before, chainName(chain)); {
		case !forwards || !drops(chain) || slices.Contains(before, chainName(chain)+policyDrops):
		case others > 0 && !known:
			left = append(left, "the policy of the chain FORWARD stays DROP: somebody else has rules there by now")
		default:
			accept := nftables.ChainPolicyAccept
			chain.Policy = &accept
			c.AddChain(chain)
		}
	}
	for _, chain := range ours {
		c.FlushChain(chain)
	}
	for _, chain := range ours {
		c.DelChain(chain)
	}
	return left, c.Flush()
}

// onLink reports whether a rule looks at what comes or goes by a link.
func onLink(rule *nftables.Rule, link string) bool {
	for i, e := range rule.Exprs {
		meta, ok := e.(*expr.Meta)
		if !ok || meta.Key != expr.MetaKeyIIFNAME && meta.Key != expr.MetaKeyOIFNAME || i+1 == len(rule.Exprs) {
			continue
		}
		if cmp, ok := rule.Exprs[i+1].(*expr.Cmp); ok && string(bytes.TrimRight(cmp.Data, "\x00")) == link {
			return true
		}
	}
	return false
}
