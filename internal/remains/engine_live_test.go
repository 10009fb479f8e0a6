//go:build linux

package remains

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
)

// dockerRules is what Docker 20.10 has in the packet filter of a machine when the networks of a cluster have gone.
const dockerRules = `
table ip nat {
	chain DOCKER { iifname "docker0" counter return; }
	chain POSTROUTING { type nat hook postrouting priority srcnat; policy accept; oifname != "docker0" ip saddr 172.17.0.0/16 counter masquerade; }
	chain PREROUTING { type nat hook prerouting priority dstnat; policy accept; fib daddr type local counter jump DOCKER; }
	chain OUTPUT { type nat hook output priority -100; policy accept; ip daddr != 127.0.0.0/8 fib daddr type local counter jump DOCKER; }
}
table ip filter {
	chain DOCKER { }
	chain DOCKER-USER { counter return; }
	chain DOCKER-ISOLATION-STAGE-2 { oifname "docker0" counter drop; counter return; }
	chain DOCKER-ISOLATION-STAGE-1 { iifname "docker0" oifname != "docker0" counter jump DOCKER-ISOLATION-STAGE-2; counter return; }
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
		counter jump DOCKER-USER
		counter jump DOCKER-ISOLATION-STAGE-1
		oifname "docker0" ct state related,established counter accept
		oifname "docker0" counter jump DOCKER
		iifname "docker0" oifname != "docker0" counter accept
		iifname "docker0" oifname "docker0" counter accept
	}
}
`

// TestLiveEngineRules wants Docker's rules to go, its policy with them, and those of somebody else to stay, with which the policy stays.
func TestLiveEngineRules(t *testing.T) {
	for name, tt := range map[string]struct {
		later string // nft
		left  string
		want  []string
	}{
		"Docker's alone": {},
		"others'": {
			later: "add rule ip filter FORWARD tcp dport 1 drop", left: "stays DROP", want: []string{"ip filter", "ip filter FORWARD"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			inNetworkNamespace(t, func(t *testing.T) {
				file := t.TempDir() + "/rules"
				if err := os.WriteFile(file, []byte(dockerRules+tt.later+"\n"), 0o600); err != nil {
					t.Error(err)
					return
				}
				run(t, "nft", "-f", file)
				left, err := Env{}.engineRules().Remove(t.Context(), nil)
				if said := strings.Join(left, ", "); err != nil || !strings.Contains(said, tt.left) || (said == "") != (tt.left == "") {
					t.Errorf("%q, %v", said, err)
				}
				c, err := nftables.New()
				if err != nil {
					t.Error(err)
					return
				}
				if all, err := listChains(c); err != nil || !cmp.Equal(all, tt.want) {
					t.Errorf("there are %q, %v", all, err)
				}
			})
		})
	}
}
