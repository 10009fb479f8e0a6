package remains

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ruleLimit is for one command of iptables, which waits for the lock that others hold.
const ruleLimit = 20 * time.Second

// legacy is one family of the older back end of iptables. Its tables are named in a file of the kernel; without that nothing
// is asked, since to ask would make them.
type legacy struct{ command, tables string }

func legacies() []legacy {
	return []legacy{
		{"iptables-legacy", "/proc/net/ip_tables_names"},
		{"ip6tables-legacy", "/proc/net/ip6_tables_names"},
	}
}

// legacyRules are the chains of the older back end of iptables, as "iptables-legacy filter INPUT". It needs the program of the
// machine, or that which k3s brings.
func (e Env) legacyRules() Thing {
	return Thing{
		Kind: "k3s-rules-legacy", Title: "rules of the firewall (iptables-legacy)",
		List: func(ctx context.Context) ([]string, error) {
			var all []string
			for _, l := range legacies() {
				saved, err := e.save(ctx, l)
				if err != nil {
					continue // no such program: k3s uses its own, and what is there by then is not asked for
				}
				for _, r := range saved {
					all = append(all, r.chains(l.command)...)
				}
			}
			slices.Sort(all)
			return all, nil
		},
		Remove: func(ctx context.Context, before []string) ([]string, error) {
			var left []string
			for _, l := range legacies() {
				saved, err := e.save(ctx, l)
				if err != nil {
					left = append(left, fmt.Sprintf("rules of %s: %v", l.command, err))
					continue
				}
				for _, table := range saved {
					for _, argv := range table.removal(l.command, before) {
						argv[0] = e.program(argv[0])
						if _, err := e.run(context.WithoutCancel(ctx), ruleLimit, argv...); err != nil {
							left = append(left, fmt.Sprintf("rule %s: %v", strings.Join(argv, " "), err))
						}
					}
				}
			}
			return left, ctx.Err()
		},
	}
}

// program finds a program of iptables: on the machine, or in what k3s has unpacked.
func (e Env) program(name string) string {
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", e.DataDir + "/data/current/bin/aux"} {
		if _, err := os.Stat(e.path(filepath.Join(dir, name))); err == nil {
			return filepath.Join(dir, name)
		}
	}
	return name
}

// save reads the tables that there are.
func (e Env) save(ctx context.Context, l legacy) ([]savedTable, error) {
	names, err := os.ReadFile(e.path(l.tables))
	if errors.Is(err, fs.ErrNotExist) || len(bytes.TrimSpace(names)) == 0 {
		return nil, nil
	}
	out, err := e.run(ctx, ruleLimit, e.program(l.command+"-save"))
	if err != nil {
		return nil, err
	}
	return parseSaved(out), nil
}

// savedTable is a table as iptables-save prints it.
type savedTable struct {
	name  string
	names []string   // of its chains
	rules [][]string // words behind -A
}

func (t savedTable) chains(command string) []string {
	var all []string
	for _, name := range t.names {
		all = append(all, command+" "+t.name+" "+name)
	}
	return all
}

// removal lists the commands that take the new chains of k3s away, and the rules that lead into them, each by its own words.
func (t savedTable) removal(command string, before []string) [][]string {
	ours := slices.DeleteFunc(slices.Clone(t.names), func(name string) bool {
		return !ownChain(name) || slices.Contains(before, command+" "+t.name+" "+name)
	})
	foreign := map[string]bool{} // chains
	for _, rule := range t.rules {
		foreign[rule[0]] = foreign[rule[0]] || slices.ContainsFunc(rule, ofAnotherNetwork)
	}
	ours = slices.DeleteFunc(ours, sharedChain(foreign))
	routed := slices.ContainsFunc(before, func(chain string) bool { return strings.HasPrefix(chain, command+" "+t.name+" KUBE-ROUTER-") })
	argv := func(words ...string) []string { return append([]string{command, "-w", "5", "-t", t.name}, words...) }
	var all [][]string
	for _, rule := range t.rules {
		if slices.Contains(ours, rule[0]) {
			continue
		}
		leads := false
		for i, word := range rule[:len(rule)-1] {
			leads = leads || (word == "-j" || word == "-g") && slices.Contains(ours, rule[i+1]) ||
				!routed && word == "--comment" && strings.Contains(rule[i+1], acceptedByRouter)
		}
		if leads {
			all = append(all, argv(append([]string{"-D"}, rule...)...))
		}
	}
	for _, flag := range []string{"-F", "-X"} {
		for _, name := range ours {
			all = append(all, argv(flag, name))
		}
	}
	return all
}

// parseSaved reads the output of iptables-save. Lines that it does not understand are left out.
func parseSaved(out []byte) []savedTable {
	var tables []savedTable
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if name, found := strings.CutPrefix(line, "*"); found {
			tables = append(tables, savedTable{name: name})
			continue
		}
		if len(tables) == 0 {
			continue
		}
		t := &tables[len(tables)-1]
		if rest, found := strings.CutPrefix(line, ":"); found {
			name, _, _ := strings.Cut(rest, " ")
			t.names = append(t.names, name)
		}
		if rest, found := strings.CutPrefix(line, "-A "); found {
			if words := splitRule(rest); len(words) > 1 {
				t.rules = append(t.rules, words)
			}
		}
	}
	return tables
}

// splitRule splits a rule into words. iptables-save quotes with double quotes, and escapes these and backslashes.
func splitRule(line string) []string {
	var words []string
	var word strings.Builder
	quoted, open := false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && quoted && i+1 < len(line):
			i++
			word.WriteByte(line[i])
		case c == '"':
			quoted, open = !quoted, true
		case c == ' ' && !quoted:
			if open {
				words = append(words, word.String())
			}
			word.Reset()
			open = false
		default:
			word.WriteByte(c)
			open = true
		}
	}
	if open {
		words = append(words, word.String())
	}
	return words
}
