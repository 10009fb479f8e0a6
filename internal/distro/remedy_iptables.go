package distro

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
)

// acceptRule is an accept of ours in a chain of the table filter. The comment tells it from the rules of others.
type acceptRule struct {
	chain string
	match string // -s or -d
	net   string
}

// spec is the rule behind "-A CHAIN", as iptables-save writes it.
func (a acceptRule) spec() []string {
	return []string{a.match, a.net, "-m", "comment", "--comment", "pipeops-agent", "-j", "ACCEPT"}
}

func (a acceptRule) line() string { return "-A " + a.chain + " " + strings.Join(a.spec(), " ") }

// tables is one of the two families, with the files that keep its rules over a boot.
type tables struct {
	command string
	files   []string
	rules   []acceptRule
}

// acceptRules puts accepts before the rules that reject, in the kernel and in the file that is loaded at boot. Not a
// line of anybody else's is touched.
func (k *k3sInstall) acceptRules(r Remedy) (plan.Step, error) {
	nets, err := r.networks()
	if err != nil {
		return plan.Step{}, err
	}
	families := []tables{
		{command: "iptables", files: []string{"/etc/iptables/rules.v4", "/etc/sysconfig/iptables"}},
		{command: "ip6tables", files: []string{"/etc/iptables/rules.v6", "/etc/sysconfig/ip6tables"}},
	}
	var changes []string
	for _, net := range nets {
		f := &families[0]
		if netip.MustParsePrefix(net).Addr().Is6() {
			f = &families[1]
		}
		f.rules = append(f.rules, acceptRule{"INPUT", "-s", net}, acceptRule{"FORWARD", "-s", net}, acceptRule{"FORWARD", "-d", net})
		changes = append(changes, f.command+": accept "+net+" before the rules that reject, in INPUT and FORWARD")
	}
	families = slices.DeleteFunc(families, func(f tables) bool { return len(f.rules) == 0 })
	for _, f := range families {
		changes = append(changes, "the same lines in "+strings.Join(f.files, " or ")+", whichever is there")
	}
	return plan.Step{
		ID: "accept-rules", Title: "Let pods past the rules that reject", Changes: changes,
		Done: func(ctx context.Context) (bool, error) {
			for _, f := range families {
				for _, rule := range f.rules {
					if at, err := k.place(ctx, f.command, rule); err != nil || at > 0 {
						return false, err
					}
				}
				for _, file := range f.files {
					if before, after, _, err := k.amended(file, f.rules); err != nil || before != after {
						return false, err
					}
				}
			}
			return true, nil
		},
		Do: func(ctx context.Context, rec *plan.Recorder) error {
			for _, f := range families {
				if err := k.accept(ctx, rec, f); err != nil {
					return err
				}
			}
			return nil
		},
	}, nil
}

func (k *k3sInstall) accept(ctx context.Context, rec *plan.Recorder, f tables) error {
	for _, rule := range f.rules {
		at, err := k.place(ctx, f.command, rule)
		if err != nil {
			return err
		}
		if at == 0 {
			continue
		}
		argv := func(op string, more ...string) []string {
			return slices.Concat([]string{f.command, "-w", op, rule.chain}, more, rule.spec())
		}
		undo := plan.Reversal{Check: argv("-C"), Undo: argv("-D")}
		err = rec.Act(plan.Kind(f.command), rule.line(), undo, func() error { return k.change(ctx, argv("-I", strconv.Itoa(at))...) })
		if err != nil {
			return err
		}
	}
	for _, file := range f.files {
		before, after, mode, err := k.amended(file, f.rules)
		if err != nil {
			return err
		}
		if before != after {
			if err := rec.WriteFile(file, mode, []byte(after)); err != nil {
				return err
			}
		}
	}
	return nil
}

// place returns the number that a rule is to have in its chain; 0 where it is there, or the chain rejects nothing.
func (k *k3sInstall) place(ctx context.Context, program string, rule acceptRule) (int, error) {
	there, err := k.succeeds(ctx, slices.Concat([]string{program, "-w", "-C", rule.chain}, rule.spec())...)
	if err != nil || there {
		return 0, err
	}
	out, err := k.run(ctx, program, "-w", "-S", rule.chain)
	if err != nil {
		return 0, err
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	at := rejects(lines, rule.chain)
	if at < 0 {
		return 0, nil
	}
	number := 1
	for _, line := range lines[:at] {
		if strings.HasPrefix(line, "-A "+rule.chain+" ") {
			number++
		}
	}
	return number, nil
}

// hasLine looks for a rule as iptables-save writes it; some versions put the comment into quotes.
func hasLine(lines []string, want string) bool {
	return slices.ContainsFunc(lines, func(line string) bool {
		return strings.TrimSpace(strings.ReplaceAll(line, `"pipeops-agent"`, "pipeops-agent")) == want
	})
}

// rejects returns before which of the lines of a chain an accept has to stand: the first that rejects or drops; where
// only the policy does, behind the last; -1 where nothing does.
func rejects(lines []string, chain string) int {
	policy := false
	for i, line := range lines {
		fields := strings.Fields(line)
		switch {
		case len(fields) > 2 && fields[0] == "-P" && fields[1] == chain: // iptables -S
			policy = fields[2] == "DROP"
		case len(fields) > 1 && fields[0] == ":"+chain: // iptables-save
			policy = fields[1] == "DROP"
		case len(fields) > 2 && fields[0] == "-A" && fields[1] == chain:
			if j := slices.Index(fields, "-j"); j >= 0 && j+1 < len(fields) && (fields[j+1] == "REJECT" || fields[j+1] == "DROP") {
				return i
			}
		}
	}
	if policy {
		return len(lines)
	}
	return -1
}

// amended returns a file of rules as it is and as it is to be; both are "" where it is not there.
func (k *k3sInstall) amended(file string, rules []acceptRule) (before, after string, mode fs.FileMode, err error) {
	text, err := os.ReadFile(k.path(file))
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", 0, nil
	}
	if err != nil {
		return "", "", 0, fmt.Errorf("cannot read %s: %w", file, err)
	}
	st, err := os.Stat(k.path(file))
	if err != nil {
		return "", "", 0, err
	}
	return string(text), amendRules(string(text), rules), st.Mode().Perm(), nil
}

// amendRules inserts rules into the table filter of a text of iptables-save. All other bytes stay.
func amendRules(text string, rules []acceptRule) string {
	lines := strings.SplitAfter(text, "\n")
	start := slices.IndexFunc(lines, func(l string) bool { return strings.TrimSpace(l) == "*filter" })
	if start < 0 {
		return text
	}
	for _, rule := range rules {
		length := slices.IndexFunc(lines[start:], func(l string) bool { return strings.TrimSpace(l) == "COMMIT" })
		if length < 0 {
			return text
		}
		table := lines[start : start+length]
		if at := rejects(table, rule.chain); at >= 0 && !hasLine(table, rule.line()) {
			lines = slices.Insert(lines, start+at, rule.line()+"\n")
		}
	}
	return strings.Join(lines, "")
}
