package distro

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	// maxLine bounds a line that is looked at, in bytes. The longest of k3s that says something has about 1 KiB; the
	// command lines that it prints have more.
	maxLine = 4 << 10
	// maxStartLines bounds the lines of one start: k3s says some 400 until it is ready.
	maxStartLines = 4000
)

// start is what was said between one start of a service and the next.
type start struct {
	lines   []string  // messages, without what stands around them
	began   time.Time // of the first line that has a time; zero is unknown
	named   bool      // k3s has said its name
	up      bool      // it called itself ready
	failed  bool      // it ended by itself
	stopped bool      // somebody stopped it in good order
}

func (s start) ended() bool { return s.failed || s.stopped }

// starts returns the last starts, the newest first. What containerd and pods said belongs to the newest.
func (w Words) starts() []start {
	all := []start{{}}
	asServer := strings.NewReplacer(workerUnit, serverUnit, `msg="Starting k3s agent v`, `msg="Starting k3s v`, `msg="k3s agent is up`, `msg="k3s is up`)
	for line := range strings.Lines(w.Unit) {
		line = asServer.Replace(fit(line)) // a worker says the same in other words
		last := &all[len(all)-1]
		if last.begins(line) {
			all = append(all, start{})
			last = &all[len(all)-1]
		}
		last.named = last.named || isName(line)
		last.up = last.up || strings.HasPrefix(line, "Started k3s.service") || strings.HasPrefix(line, "Started Lightweight Kubernetes") ||
			strings.Contains(line, `msg="k3s is up and running"`)
		last.failed = last.failed || fails(line)
		last.stopped = last.stopped || strings.HasPrefix(line, "k3s.service: Deactivated successfully.") || strings.HasPrefix(line, "k3s.service: Succeeded.")
		if t, ok := timeOf(line); ok && last.began.IsZero() {
			last.began = t
		}
		if len(last.lines) < maxStartLines {
			last.lines = append(last.lines, messageOf(line))
		}
	}
	slices.Reverse(all)
	all = all[:min(len(all), 2)]
	newest := &all[0]
	more := func(line string) {
		if len(newest.lines) < 2*maxStartLines {
			newest.lines = append(newest.lines, messageOf(fit(line)))
		}
	}
	since := newest.began.Truncate(time.Second) // k3s gives no fractions
	old := false
	for line := range strings.Lines(w.Containerd) { // many starts append to it
		if t, ok := timeOf(line); ok {
			old = t.Before(since)
		}
		if !old {
			more(line)
		}
	}
	for line := range strings.Lines(w.Pods) { // 2026-11-26T01:48:09.123456789Z stderr F message
		at, rest, _ := strings.Cut(line, " ")
		if t, err := time.Parse(time.RFC3339Nano, at); err == nil && t.Before(since) {
			continue
		}
		_, rest, _ = strings.Cut(rest, " ")
		_, rest, _ = strings.Cut(rest, " ")
		more(rest)
	}
	return all
}

// begins reports whether a line is the first of a start: systemd says so before it runs anything. supervise-daemon says
// nothing, so that there it is the name of k3s, if it comes a second time.
func (s start) begins(line string) bool {
	if strings.HasPrefix(line, "Starting k3s.service") || strings.HasPrefix(line, "Starting Lightweight Kubernetes") {
		return len(s.lines) > 0
	}
	return s.named && isName(line)
}

// isName reports whether a line is the one by which k3s names itself, once in each start.
func isName(line string) bool { return strings.Contains(line, `msg="Starting k3s v`) }

// fails reports whether a line tells of the end of a start.
func fails(line string) bool {
	return strings.Contains(line, ": Main process exited, ") || strings.Contains(line, ": Failed with result ") ||
		strings.Contains(line, " level=fatal ")
}

// timeOf reads time="2026-11-26T01:48:09Z", with which the lines of k3s and containerd begin.
func timeOf(line string) (time.Time, bool) {
	rest, ok := strings.CutPrefix(line, `time="`)
	if !ok {
		return time.Time{}, false
	}
	text, _, ok := strings.Cut(rest, `"`)
	t, err := time.Parse(time.RFC3339Nano, text)
	return t, ok && err == nil
}

// fit makes a line of a log fit to be looked at and shown: valid UTF-8, without what controls a terminal.
func fit(line string) string {
	line = strings.ToValidUTF8(line[:min(len(line), maxLine)], "")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r): // Cf turns the direction of writing
			return -1
		}
		return r
	}, uncoloured(line)))
}

// uncoloured takes away the sequences that colour and move: "ESC [ ... letter", "ESC ] ... BEL" and those of two bytes. It goes once
// through the line, for a log may have one in each of a million lines.
func uncoloured(line string) string {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(line, "\x1b")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		line = rest[sequence(rest):]
	}
}

// sequence returns the length of a sequence behind its ESC, 0 where there is none.
func sequence(s string) int {
	switch {
	case s == "" || s[0] < '@' || s[0] > '_':
		return 0
	case s[0] == '[':
		n := 1 + span(s[1:], func(c byte) bool { return c >= '0' && c <= '9' || c == ';' || c == '?' })
		n += span(s[n:], func(c byte) bool { return c >= ' ' && c <= '/' })
		if n < len(s) && s[n] >= '@' && s[n] <= '~' {
			return n + 1
		}
	case s[0] == ']':
		n := 1 + span(s[1:], func(c byte) bool { return c != '\a' && c != '\x1b' })
		if strings.HasPrefix(s[n:], "\a") {
			return n + 1
		}
		if strings.HasPrefix(s[n:], "\x1b\\") {
			return n + 2
		}
		return n
	}
	return 1
}

// span returns how many bytes at the beginning are of a kind.
func span(s string, of func(byte) bool) int {
	n := 0
	for n < len(s) && of(s[n]) {
		n++
	}
	return n
}

// hidden is what stands in the place of a secret.
const hidden = "${1}${3}${4}${5}***${2}"

// secrets are the forms in which k3s and its databases write passwords and tokens. What follows "token: " is a secret only
// if it is quoted, or long: it may be a word of an error.
func secrets() *regexp.Regexp {
	const name, quoted = `(?i:token|password|secret)["'\\]*`, `\\*"[^"]*"|'[^']*'`
	return regexp.MustCompile(`(://[^/@\s:]*:)\S*(@)|(K10[0-9a-f]{8})[0-9a-f]+(?:::[^\s"',]*)?|(` +
		name + `=)(?:` + quoted + `|[^\s"'\\,]+)|(` + name + `:\s*)(?:` + quoted + `|[^\s"'\\,]{16,})`)
}

// quote makes of a message what is worth showing: without secrets, around where the cause was found.
func quote(message string, at int) string {
	before, told := secrets().ReplaceAllString(message[:at], hidden), secrets().ReplaceAllString(message[at:], hidden)
	if over := len(before) + len(told) - maxQuote; over > 0 && len(before) > maxBefore {
		before = "..." + strings.ToValidUTF8(before[min(over+3, len(before)-maxBefore):], "")
	}
	text := strings.ReplaceAll(before+told, `"`, "'")
	if len(text) > maxQuote {
		text = strings.ToValidUTF8(text[:maxQuote-3], "") + "..."
	}
	return text
}

// maxBefore is how much is quoted, in bytes, of what stands before the telling part.
const maxBefore = 80

// messageOf returns the message of a line in the forms of logrus (time="..." level=... msg="..."), zap (JSON) and klog
// (E1126 01:48:09.123456 812 file.go:1] ...), as a person would write it. That of the last breath begins with "fatal: ".
func messageOf(line string) string {
	if strings.HasPrefix(line, "time=") {
		i := strings.Index(line, ` msg="`)
		if i < 0 {
			return line
		}
		quoted, err := strconv.QuotedPrefix(line[i+5:])
		if err != nil { // it was cut
			return unquoted(line[i+6:])
		}
		message := unquoted(quoted[1:len(quoted)-1]) + unquoted(line[i+5+len(quoted):])
		if strings.Contains(line[:i], "level=fatal") {
			message = "fatal: " + message
		}
		return message
	}
	if strings.HasPrefix(line, `{"level":`) { // of etcd
		var e struct{ Msg, Path, Error string }
		if json.Unmarshal([]byte(line), &e) == nil {
			return unquoted(strings.TrimSpace(e.Msg + " " + e.Path + " " + e.Error))
		}
	}
	if len(line) > 5 && strings.IndexByte("IWEF", line[0]) >= 0 && line[1] >= '0' && line[1] <= '9' {
		if _, message, ok := strings.Cut(line, "] "); ok {
			return unquoted(message)
		}
	}
	return unquoted(line)
}

// unquoted undoes one or several layers of quoting, which errors in errors have.
func unquoted(s string) string {
	for range 4 {
		if !strings.Contains(s, `\"`) && !strings.Contains(s, `\n`) {
			break
		}
		s = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, " ", `\t`, " ").Replace(s)
	}
	return s
}
