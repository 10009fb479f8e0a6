package host

import (
	"bytes"
	"cmp"
	"context"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Firewall is what filters packets on the machine.
type Firewall struct {
	UFW       Known[bool] `json:"ufw"`       // active
	Firewalld Known[bool] `json:"firewalld"` // active
	// Rejects are rules of neither that turn away whatever comes in or through: "FILE: RULE" for those that are loaded at boot,
	// "kernel: ..." for those in force; null: unknown.
	Rejects []string `json:"rejects"`
	Forward string   `json:"forward"` // policy of the FORWARD chain: "accept", "drop"; "" is unknown
}

const (
	ufwConf     = "/etc/ufw/ufw.conf"
	ufwDefaults = "/etc/default/ufw"

	firewalldProcess = "firewalld"
	firewalldUnit    = "firewalld.service"

	rulesV4    = "/etc/iptables/rules.v4" // netfilter-persistent: Debian, and Oracle's images of Ubuntu
	rulesV6    = "/etc/iptables/rules.v6"
	rulesRHEL  = "/etc/sysconfig/iptables" // iptables-services: RHEL, and Oracle's images
	rulesRHEL6 = "/etc/sysconfig/ip6tables"

	nftConf     = "/etc/nftables.conf"           // Debian, Arch
	nftConfRHEL = "/etc/sysconfig/nftables.conf" // RHEL
	nftService  = "nftables.service"

	maxRejects = 8
	maxRule    = 200 // bytes of a rule that are shown
)

func firewallProbe() Probe {
	return Probe{Name: "firewall", Run: func(ctx context.Context, s *System) (Part, error) {
		names, err := processNames(ctx, s)
		f := Firewall{UFW: ufwActive(s), Firewalld: firewalldActive(s, names)}
		var policy string
		f.Rejects, policy = savedRules(s)
		switch {
		case f.UFW.Value:
			f.Forward = ParseUFWForward(s.text(ufwDefaults))
		case f.Firewalld.Value: // its own tables, beside those of iptables
		case policy == "drop", policy != "" && !slices.Contains(names, "dockerd"): // Docker sets drop itself
			f.Forward = policy
		}
		if !s.Live() {
			f = s.Snapshot().Firewall.orElse(f)
		} else if os.Geteuid() == 0 {
			kernel, kernelErr := liveRules(s)
			err = cmp.Or(err, kernelErr)
			if !f.UFW.Value && !f.Firewalld.Value { // whose rules are their own
				f.Rejects = append(f.Rejects, kernel.rejects[:min(len(kernel.rejects), maxRejects)]...)
			}
			f.Forward = or(kernel.forward, f.Forward)
		}
		return func(facts *Facts) { facts.Firewall = f }, err
	}}
}

// orElse takes from another what is unknown here.
func (f Firewall) orElse(other Firewall) Firewall {
	if !f.UFW.OK {
		f.UFW = other.UFW
	}
	if !f.Firewalld.OK {
		f.Firewalld = other.Firewalld
	}
	if f.Rejects == nil {
		f.Rejects = other.Rejects
	}
	f.Forward = or(f.Forward, other.Forward)
	return f
}

// text returns a file's content, or nothing if it cannot be read.
func (s *System) text(path string) []byte {
	b, err := s.ReadFile(path)
	if err != nil {
		return nil
	}
	return b
}

// ufwActive believes the file that ufw reads at boot: "ufw enable" and "ufw disable" write it.
func ufwActive(s *System) Known[bool] {
	if b := s.text(ufwConf); b != nil {
		return Is(ParseUFWConf(b))
	}
	if s.Exists(ufwConf) == Is(false) && lacks(s, "ufw") {
		return Is(false)
	}
	return Known[bool]{}
}

// lacks reports whether a program is known not to be there: of a captured machine the absence of a file says nothing.
func lacks(s *System, command string) bool {
	if s.Live() {
		return true
	}
	all := s.Snapshot().Commands
	return all != nil && all[command] == ""
}

func firewalldActive(s *System, names []string) Known[bool] {
	switch {
	case slices.Contains(names, firewalldProcess):
		return Is(true)
	case names != nil && (s.Live() || s.Snapshot().Processes != nil):
		return Is(false)
	case enabledUnit(s, firewalldUnit) != "" || s.has("/run/firewalld"):
		return Is(true)
	case lacks(s, "firewall-cmd"):
		return Is(false)
	}
	return Known[bool]{}
}

// enabledUnit returns the link by which systemd starts a unit at boot, or "".
func enabledUnit(s *System, unit string) string {
	for _, dir := range s.matching("/etc/systemd/system/*.wants") {
		if p := path.Join(dir, unit); s.has(p) {
			return p
		}
	}
	return ""
}

// savedRules reads the rules that are loaded at boot, by whoever does without ufw and firewalld.
func savedRules(s *System) (rejects []string, policy string) {
	sources := []ruleFile{{rulesV4, ParseRules}, {rulesV6, ParseRules}, {rulesRHEL, ParseRules}, {rulesRHEL6, ParseRules}}
	if enabledUnit(s, nftService) != "" { // the file comes with the package
		sources = append(sources, ruleFile{nftConf, ParseNftRules}, ruleFile{nftConfRHEL, ParseNftRules})
	}
	for _, source := range sources {
		file := source.path
		b, err := s.ReadFile(file)
		if err != nil {
			continue
		}
		if rejects == nil {
			rejects = []string{}
		}
		r := source.parse(b)
		for _, rule := range r.rejects {
			if len(rejects) < maxRejects {
				rejects = append(rejects, file+": "+rule)
			}
		}
		if policy == "" || r.forward == "drop" {
			policy = r.forward
		}
	}
	if rejects == nil && s.Live() {
		rejects = []string{}
	}
	return rejects, policy
}

// rules is what matters of saved rules.
type rules struct {
	rejects []string
	forward string
}

type ruleFile struct {
	path  string
	parse func([]byte) rules
}

// ParseRules reads what iptables-save writes. Rules that turn away only some packets are left out, such as those that
// block single addresses.
func ParseRules(b []byte) rules {
	var r rules
	table := ""
	for line := range bytes.Lines(redactRules(b)) {
		text := strings.TrimSpace(string(line))
		f := strings.Fields(text)
		switch {
		case len(f) == 0 || clip(text) != text:
		case f[0][0] == '*':
			table = f[0]
		case table != "*filter":
		case f[0][0] == ':' && len(f) > 1:
			if f[0] == ":FORWARD" && (f[1] == "DROP" || f[1] == "ACCEPT") {
				r.forward = strings.ToLower(f[1])
			}
			if f[0] == ":INPUT" && f[1] == "DROP" {
				r.rejects = append(r.rejects, "INPUT policy DROP")
			}
		case len(f) > 3 && f[0] == "-A" && (f[1] == "INPUT" || f[1] == "FORWARD") && f[2] == "-j" && (f[3] == "REJECT" || f[3] == "DROP"):
			r.rejects = append(r.rejects, text)
		}
	}
	return r
}

// ParseNftRules reads the policies of the base chains in a file for nft. What single rules do takes more than this to tell.
func ParseNftRules(b []byte) rules {
	var r rules
	hook := ""
	words := strings.FieldsFunc(string(b), func(c rune) bool { return c == ' ' || c == '\t' || c == '\n' || c == ';' || c == '{' || c == '}' })
	for i := 0; i+1 < len(words); i++ {
		switch next := words[i+1]; words[i] {
		case "chain", "table":
			hook = ""
		case "hook":
			hook = next
		case "policy":
			if next == "drop" && hook == "input" {
				r.rejects = append(r.rejects, "input policy drop")
			}
			if hook == "forward" && (next == "drop" || next == "accept") {
				r.forward = next
			}
		}
	}
	return r
}

// redactNftRules writes a file that says the same to [ParseNftRules] and nothing else.
func redactNftRules(b []byte) []byte {
	r := ParseNftRules(b)
	var out []byte
	for range r.rejects {
		out = append(out, "chain input { type filter hook input priority 0; policy drop; }\n"...)
	}
	if r.forward != "" {
		out = append(out, "chain forward { type filter hook forward priority 0; policy "+r.forward+"; }\n"...)
	}
	return out
}

// ruleComment is a remark in a rule, which may say anything.
var ruleComment = regexp.MustCompile(`-m comment --comment ("(?:[^"\\\n]|\\.)*"|\S+) ?`)

func redactRules(b []byte) []byte {
	var out []byte
	for line := range bytes.Lines(b) {
		switch {
		case bytes.HasPrefix(line, []byte("#")):
		case bytes.Contains(line, []byte("--comment")):
			out = append(out, ruleComment.ReplaceAll(line, nil)...)
		default:
			out = append(out, line...)
		}
	}
	return out
}

// clip makes a rule fit to be shown.
func clip(text string) string {
	text = strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return -1
		}
		return c
	}, text)
	return text[:min(len(text), maxRule)]
}

// ParseUFWConf reports whether ufw is switched on.
func ParseUFWConf(b []byte) bool {
	return strings.EqualFold(assignment(b, "ENABLED"), "yes")
}

// ParseUFWForward returns what ufw does with what it forwards: "accept" or "drop", which REJECT is too; "" is unknown.
func ParseUFWForward(b []byte) string {
	switch strings.ToUpper(assignment(b, "DEFAULT_FORWARD_POLICY")) {
	case "ACCEPT":
		return "accept"
	case "DROP", "REJECT":
		return "drop"
	}
	return ""
}

// assignment returns the last value of a key in a file of shell assignments, which is never run.
func assignment(b []byte, key string) string {
	value := ""
	for line := range bytes.Lines(b) {
		if k, v, ok := strings.Cut(strings.TrimSpace(string(line)), "="); ok && k == key {
			value = unquote(strings.TrimSpace(v))
		}
	}
	return value
}
