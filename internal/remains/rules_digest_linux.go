package remains

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Rules lists the chains of nftables, those of iptables-nft among them, each with a digest of its rules without their
// counters: "ip filter INPUT=2 rules 5d41402a".
func Rules() ([]string, error) {
	if _, err := os.Stat("/sys/module/nf_tables"); err != nil && !hasNFTables() {
		return nil, nil // to ask would load it
	}
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	return digests(c)
}

func digests(c *nftables.Conn) ([]string, error) {
	all, err := listChains(c)
	if err != nil {
		return nil, err
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil, err
	}
	for _, chain := range chains {
		if chain.Table == nil {
			continue
		}
		rules, err := c.GetRules(chain.Table, chain)
		if err != nil {
			return nil, fmt.Errorf("cannot list the rules of %s: %w", chainName(chain), err)
		}
		h := sha256.New()
		enc := json.NewEncoder(h)
		for _, rule := range rules {
			for _, e := range rule.Exprs {
				if _, counts := e.(*expr.Counter); counts {
					continue
				}
				fmt.Fprintf(h, "%T", e)
				if err := enc.Encode(e); err != nil {
					return nil, err
				}
			}
			fmt.Fprintf(h, "%x\n", rule.UserData)
		}
		if i := slices.Index(all, chainName(chain)); i >= 0 {
			all[i] = fmt.Sprintf("%s=%d rules %s", all[i], len(rules), hex.EncodeToString(h.Sum(nil)[:8]))
		}
	}
	return all, nil
}
