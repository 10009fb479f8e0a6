package remains

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

// ownTables are tables of nftables that are k3s's as a whole: of kube-proxy in its mode nftables, and of flannel with it.
func ownTables() []string { return []string{"kube-proxy", "flannel-ipv4", "flannel-ipv6"} }

// baseChains are those that iptables-nft makes in a table when a rule is first put into it.
func baseChains() []string {
	return []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
}

// iptablesTables are those that iptables-nft makes.
func iptablesTables() []string { return []string{"filter", "nat", "mangle", "raw", "security"} }

// ofIptables reports whether a table is one of iptables-nft. In those of others a name says nothing.
func ofIptables(t *nftables.Table) bool {
	return slices.Contains(iptablesTables(), t.Name) && (t.Family == nftables.TableFamilyIPv4 || t.Family == nftables.TableFamilyIPv6)
}

// rules are the chains of nftables, those of iptables-nft among them, as "ip filter INPUT". Away go the chains of k3s that
// are new, the rules that lead into them, one by one, and the empty tables and chains that iptables-nft has made for them. A
// whole rule set is never written back (k3s issues 8795 and 774).
func (e Env) rules() Thing {
	return Thing{
		Kind: "k3s-rules", Title: "rules of the firewall (nftables)",
		List: listing(listChains),
		Remove: func(_ context.Context, before []string) ([]string, error) {
			c, err := nftables.New()
			if err != nil {
				return []string{"rules of the firewall: " + err.Error()}, nil
			}
			var left []string
			for _, remove := range []func(*nftables.Conn, []string) error{removeTables, removeRules, removeChains, removeEmpty} {
				if err := remove(c, before); err != nil {
					left = append(left, "rules of the firewall: "+err.Error())
				}
			}
			return left, nil
		},
	}
}

// listing asks nftables, where the kernel has it loaded: to ask would load it.
func listing(list func(*nftables.Conn) ([]string, error)) func(context.Context) ([]string, error) {
	return func(context.Context) ([]string, error) {
		if _, err := os.Stat("/sys/module/nf_tables"); err != nil && !hasNFTables() {
			return nil, nil
		}
		c, err := nftables.New()
		if err != nil {
			return nil, err
		}
		return list(c)
	}
}

// hasNFTables reports whether the kernel has nftables built in, where it is no module.
func hasNFTables() bool {
	_, err := os.Stat("/proc/sys/net/netfilter")
	return err == nil
}

func family(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	case nftables.TableFamilyINet:
		return "inet"
	}
	return fmt.Sprint(f)
}

func tableName(t *nftables.Table) string { return family(t.Family) + " " + t.Name }
func chainName(c *nftables.Chain) string { return tableName(c.Table) + " " + c.Name }

// listChains names all chains, and tables by themselves, since one may have no chain.
func listChains(c *nftables.Conn) ([]string, error) {
	tables, err := c.ListTables()
	if err != nil {
		return nil, fmt.Errorf("cannot list the tables of the firewall: %w", err)
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil, fmt.Errorf("cannot list the chains of the firewall: %w", err)
	}
	var all []string
	for _, t := range tables {
		all = append(all, tableName(t))
	}
	for _, chain := range chains {
		if chain.Table != nil {
			all = append(all, chainName(chain))
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// removeTables deletes the tables that are k3s's as a whole.
func removeTables(c *nftables.Conn, before []string) error {
	tables, err := c.ListTables()
	if err != nil {
		return err
	}
	for _, t := range tables {
		if slices.Contains(ownTables(), t.Name) && !slices.Contains(before, tableName(t)) {
			c.DelTable(t)
		}
	}
	return c.Flush()
}

// newChains returns the chains of k3s that were not there before.
func newChains(c *nftables.Conn, before []string) (all, ours []*nftables.Chain, err error) {
	if all, err = c.ListChains(); err != nil {
		return nil, nil, err
	}
	all = slices.DeleteFunc(all, func(chain *nftables.Chain) bool { return chain.Table == nil })
	for _, chain := range all {
		if ofIptables(chain.Table) && ownChain(chain.Name) && !slices.Contains(before, chainName(chain)) {
			ours = append(ours, chain)
		}
	}
	ours = slices.DeleteFunc(ours, sharedWith(c, ours))
	return all, ours, nil
}

// sharedWith says which of the chains are also those of another runtime, by the comments of their rules.
func sharedWith(c *nftables.Conn, chains []*nftables.Chain) func(*nftables.Chain) bool {
	foreign, unread := map[string]bool{}, map[string]bool{} // by name
	for _, chain := range chains {
		if !strings.HasPrefix(chain.Name, "CNI-") {
			continue
		}
		rules, err := c.GetRules(chain.Table, chain)
		unread[chain.Name] = unread[chain.Name] || err != nil
		foreign[chain.Name] = foreign[chain.Name] || slices.ContainsFunc(rules, func(r *nftables.Rule) bool { return ofAnotherNetwork(comment(r)) })
	}
	shared := sharedChain(foreign)
	return func(chain *nftables.Chain) bool { return unread[chain.Name] || shared(chain.Name) }
}

// removeRules deletes the rules of other chains that lead into chains of k3s.
func removeRules(c *nftables.Conn, before []string) error {
	all, ours, err := newChains(c, before)
	if err != nil {
		return err
	}
	routed := slices.ContainsFunc(before, func(name string) bool { return strings.Contains(name, " KUBE-ROUTER-") })
	for _, chain := range all {
		if slices.Contains(ours, chain) || !ofIptables(chain.Table) {
			continue
		}
		rules, err := c.GetRules(chain.Table, chain)
		if err != nil {
			return fmt.Errorf("cannot list the rules of %s: %w", chainName(chain), err)
		}
		for _, rule := range rules {
			leads := slices.ContainsFunc(ours, func(own *nftables.Chain) bool {
				return own.Table.Name == chain.Table.Name && own.Table.Family == chain.Table.Family && jumpsTo(rule, own.Name)
			})
			if leads || !routed && strings.Contains(comment(rule), acceptedByRouter) {
				if err := c.DelRule(rule); err != nil {
					return err
				}
			}
		}
	}
	return c.Flush()
}

func jumpsTo(rule *nftables.Rule, chain string) bool {
	for _, e := range rule.Exprs {
		if v, ok := e.(*expr.Verdict); ok && v.Chain == chain {
			return true
		}
	}
	return false
}

// comment returns the comment of a rule, as iptables-nft keeps it: as a match, or in the data of the user.
func comment(rule *nftables.Rule) string {
	text := string(rule.UserData)
	for _, e := range rule.Exprs {
		m, ok := e.(*expr.Match)
		if !ok || m.Name != "comment" {
			continue
		}
		switch info := m.Info.(type) {
		case *xt.Comment:
			text += string(*info)
		case *xt.Unknown:
			text += string(bytes.TrimRight(*info, "\x00"))
		}
	}
	return text
}

// removeChains deletes the chains of k3s, all at once: they lead into each other.
func removeChains(c *nftables.Conn, before []string) error {
	_, ours, err := newChains(c, before)
	if err != nil {
		return err
	}
	for _, chain := range ours {
		c.FlushChain(chain)
	}
	for _, chain := range ours {
		c.DelChain(chain)
	}
	return c.Flush()
}

// removeEmpty deletes the chains and tables that iptables-nft has made since and that are empty again.
func removeEmpty(c *nftables.Conn, before []string) error {
	chains, err := c.ListChains()
	if err != nil {
		return err
	}
	used := map[string]bool{} // tables
	for _, chain := range chains {
		if chain.Table == nil {
			continue
		}
		rules, err := c.GetRules(chain.Table, chain)
		accepts := chain.Policy == nil || *chain.Policy == nftables.ChainPolicyAccept
		base := ofIptables(chain.Table) && slices.Contains(baseChains(), chain.Name) && chain.Hooknum != nil
		if err != nil || len(rules) > 0 || !accepts || !base || slices.Contains(before, chainName(chain)) {
			used[tableName(chain.Table)] = true
			continue
		}
		c.DelChain(chain)
	}
	tables, err := c.ListTables()
	if err != nil {
		return err
	}
	for _, t := range tables {
		if slices.Contains(before, tableName(t)) || !ofIptables(t) || used[tableName(t)] {
			continue
		}
		sets, setErr := c.GetSets(t)
		objects, objErr := c.GetObjects(t)
		if err := errors.Join(setErr, objErr); err != nil || len(sets) > 0 || len(objects) > 0 {
			continue
		}
		c.DelTable(t)
	}
	return c.Flush()
}
