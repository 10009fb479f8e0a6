package trial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const tableName = "pipeops-trial"

// nft makes a rule of nftables that counts the packets of a hook.
func nft() Trial {
	return Trial{Name: Nft, Title: "make a rule of nftables", Run: func(ctx context.Context, _ Env) (Result, error) {
		return Result{}, inNetworkNamespace(func() error { return useRule(ctx, &expr.Counter{}) })
	}}
}

// useRule makes a table with a chain with a rule, lists the rule, and takes the table away.
func useRule(ctx context.Context, e expr.Any) error {
	half := time.Now().Add(time.Until(deadline(ctx)) / 2) // for every socket; there may be another way to try
	c, err := nftables.New(nftables.WithSockOptions(func(conn *netlink.Conn) error { return conn.SetDeadline(half) }))
	if err != nil {
		return err
	}
	// to a transaction a kernel without nftables gives one answer, where the library waits for one to each of its parts
	if _, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4); err != nil {
		return inTime("cannot use nftables", err)
	}
	table := c.AddTable(&nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv4})
	chain := c.AddChain(&nftables.Chain{
		Name: "input", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{e}})
	if err := c.Flush(); err != nil { // one transaction: nothing is there if any of it failed
		return inTime("cannot make a rule of nftables", err)
	}
	rules, listed := c.GetRules(table, chain)
	c.DelTable(table)
	if err := c.Flush(); err != nil {
		return undone("cannot remove a table of nftables", err)
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	switch {
	case err != nil:
		return undone("cannot list the tables of nftables", err)
	case len(tables) != 0:
		return fmt.Errorf("%w: the table %s is still there", errNotUndone, tables[0].Name)
	case listed != nil:
		return fmt.Errorf("cannot list a rule of nftables: %w", listed)
	case len(rules) != 1 || !sameKind(rules[0].Exprs, e):
		return errors.New("cannot trust nftables here: a rule was listed otherwise than it was made")
	}
	return nil
}

// inTime tells what the kernel refused from what took too long, which says nothing.
func inTime(what string, err error) error {
	var refused unix.Errno
	if !errors.As(err, &refused) && errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: %s: %w", errNotTried, what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// undone is inTime for what takes away what was made in a network namespace of its own, with which it goes anyway: only what the
// kernel refuses may be left.
func undone(what string, err error) error {
	if err = inTime(what, err); errors.Is(err, errNotTried) {
		return err
	}
	return fmt.Errorf("%w: %w", errNotUndone, err)
}

func sameKind(listed []expr.Any, made expr.Any) bool {
	if len(listed) != 1 {
		return false
	}
	switch made := made.(type) {
	case *expr.Counter:
		_, ok := listed[0].(*expr.Counter)
		return ok
	case *expr.Match:
		m, ok := listed[0].(*expr.Match)
		return ok && m.Name == made.Name
	}
	return false
}

// commentMatch is what iptables-nft makes of "-m comment --comment TEXT": the match of xtables, through nft_compat.
func commentMatch(text string) *expr.Match {
	const size = 256 // struct xt_comment_info of linux/netfilter/xt_comment.h
	info := make(xt.Unknown, size)
	copy(info[:size-1], text)
	return &expr.Match{Name: "comment", Info: &info}
}
