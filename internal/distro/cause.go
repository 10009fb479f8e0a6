package distro

import (
	"cmp"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// Cause is a known reason why a cluster does not come up, and by what one recognises it in what its programs say.
type Cause struct {
	Name string // lower-kebab
	// Says are lines that tell of it, each of them enough. " ... " stands for whatever lies between two parts.
	Says []string
	// When is on which machines it is this: the same line means different things on different ones. Zero means all.
	When Circumstance
	// Stuck marks what every start says in passing, and what is the cause only if the cluster still runs and is not ready.
	Stuck bool
	// Passes marks what the next start may well not meet again: it gets one more, [startsThatPass] times.
	Passes bool

	Code reason.Code
	Fix  string // "" means that of the catalogue
	// Adds names what the line does not: who holds the port. "" adds nothing, and so does nil.
	Adds func(line string, f host.Facts) string
}

// Circumstance is something that is so on some machines.
type Circumstance struct {
	Title string // for people: "in LXC"
	Holds func(host.Facts) bool
}

// Words is what the programs of a cluster have said, as it was read. It is the machine's, and not to be trusted.
type Words struct {
	Unit       string // journal or log of the service that starts the cluster, the newest last
	Containerd string // containerd's log
	Pods       string // the last lines of the pods that belong to the cluster itself
}

// Diagnosis is a cause that was found, and the line that told of it, fit to be shown.
type Diagnosis struct {
	Cause Cause
	Line  string // of at most 300 bytes, valid UTF-8, without control characters and secrets
	Added string // what the facts add to it
}

// maxQuote bounds a line that is quoted, in bytes: three lines of a terminal.
const maxQuote = 300

// Diagnose finds the root cause in the words of a k3s that does not come up. Its last message rarely is the cause: so the
// causes are asked in their order, the most specific first, and each takes the first line since the last start that tells
// of it. False if none is recognised.
func Diagnose(w Words, f host.Facts) (Diagnosis, bool) {
	starts := w.starts()
	for _, s := range starts {
		if d, ok := s.diagnose(f); ok {
			return d, true
		}
		if s.ended() || s.up { // one that has only begun says nothing yet, and the one before it does
			break
		}
	}
	return Diagnosis{}, false
}

func (s start) diagnose(f host.Facts) (Diagnosis, bool) {
	if s.stopped {
		return Diagnosis{}, false
	}
	for _, c := range K3sCauses() {
		if c.Stuck && s.ended() || c.When.Holds != nil && !c.When.Holds(f) {
			continue
		}
		for _, l := range s.lines {
			at, ok := c.said(l)
			if !ok {
				continue
			}
			d := Diagnosis{Cause: c, Line: quote(l, at)}
			d.Cause.Fix = inWordsOf(f, c.Fix)
			if c.Adds != nil {
				d.Added = c.Adds(d.Line, f)
			}
			return d, true
		}
	}
	return Diagnosis{}, false
}

// said reports whether a line tells of the cause, and where in it that begins.
func (c Cause) said(line string) (at int, ok bool) {
	for _, pattern := range c.Says {
		if at, ok := holds(line, pattern); ok {
			return at, true
		}
	}
	return 0, false
}

// holds looks for the parts of a pattern in their order.
func holds(line, pattern string) (at int, ok bool) {
	from, at := 0, -1
	for part := range strings.SplitSeq(pattern, " ... ") {
		i := strings.Index(line[from:], part)
		if i < 0 {
			return 0, false
		}
		if at < 0 {
			at = i
		}
		from += i + len(part)
	}
	return at, true
}

// Evidence is what was seen, in one line.
func (d Diagnosis) Evidence() string {
	s := `k3s says "` + d.Line + `"`
	if d.Added != "" {
		s += "; " + d.Added
	}
	return s
}

// Err makes an error of it, with what went wrong because of it. Its exit code is that of a step that was rolled back,
// whatever others give the same code: the machine was not refused, an install of it failed.
func (d Diagnosis) Err(because error) *reason.Error {
	e := reason.New(d.Cause.Code, d.Evidence(), because)
	e.Exit = reason.ExitRolledBack
	e.Fix = cmp.Or(d.Cause.Fix, e.Fix)
	return e
}
