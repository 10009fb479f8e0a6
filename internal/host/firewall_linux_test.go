package host

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

func TestTurnsAway(t *testing.T) {
	drop, accept := &expr.Verdict{Kind: expr.VerdictDrop}, &expr.Verdict{Kind: expr.VerdictAccept}
	for _, c := range []struct {
		name  string
		exprs []expr.Any
		want  string
	}{
		{"drop", []expr.Any{&expr.Counter{}, drop}, "drop"},
		{"reject", []expr.Any{&expr.Reject{}}, "reject"},
		{"iptables-nft", []expr.Any{&expr.Match{Name: "comment"}, &expr.Counter{}, &expr.Target{Name: "REJECT"}}, "reject"},
		{"accept", []expr.Any{&expr.Counter{}, accept}, ""},
		{"one interface", []expr.Any{&expr.Meta{}, &expr.Cmp{}, drop}, ""},
		{"a limit", []expr.Any{&expr.Match{Name: "limit"}, drop}, ""},
		{"nothing", nil, ""},
	} {
		if got := turnsAway(c.exprs); got != c.want {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

// TestKernelRules works in a network namespace of its own, which ends with its thread.
func TestKernelRules(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may make a network namespace")
	}
	_, loaded := os.Stat("/sys/module/nf_tables")
	if _, modules := os.Stat("/lib/modules"); loaded != nil && modules == nil {
		t.Skip("no nftables here, and a test must not load it")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Log(err)
			return
		}
		c, err := nftables.New()
		if err != nil {
			t.Error(err)
			return
		}
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "filter"})
		policy := nftables.ChainPolicyDrop
		c.AddChain(&nftables.Chain{Name: "FORWARD", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &policy})
		input := c.AddChain(&nftables.Chain{Name: "INPUT", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter})
		c.AddRule(&nftables.Rule{Table: table, Chain: input, Exprs: []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}})
		if err := c.Flush(); err != nil {
			t.Log(err) // not allowed here
			return
		}
		r, err := kernelRules(c)
		if err != nil || r.forward != "drop" || strings.Join(r.rejects, ";") != "kernel: table filter, chain INPUT: drop" {
			t.Errorf("%+v, %v", r, err)
		}
	}()
	<-done
}
