// Package audit is the record of what was asked through a tunnel, by whom, and what came of it. Both ends keep one. It is a file of JSON
// lines in which each has the SHA-256 of the line before, so that a record cannot be changed, removed or moved without a trace, and each
// end keeps the head of the other's chain, so that neither can begin anew.
//
// Recorded is what Kubernetes records at its audit level Metadata: names, also those of Secrets, and no bodies. Of the query only what
// tells what was asked stays; a command that is run in a container is named without its arguments.
package audit

import (
	"encoding/hex"
	"strings"
	"time"
	"unicode/utf8"
)

// The kinds of records.
const (
	KindFile    = "file"    // the first of a file
	KindOpened  = "opened"  // a process goes on with the chain
	KindClosed  = "closed"  // it has ended in order
	KindRequest = "request" // a request, when it is over
	KindStart   = "start"   // a request that is about to be carried out; an end follows, unless the process is killed
	KindEnd     = "end"
	KindNote    = "note"   // something that happened, and is no request of a user
	KindAnchor  = "anchor" // the head of the chain of the other end
)

// Record is one line.
type Record struct {
	Seq  uint64    `json:"seq"`  // from 1 on, without gaps
	Prev string    `json:"prev"` // SHA-256 of the line before, without its line feed, in hexadecimal; of the first 64 zeros
	Kind string    `json:"kind"`
	Time time.Time `json:"time"` // when it was recorded

	Event
	*Result

	File   *File   `json:"file,omitempty"`
	Opened *Opened `json:"opened,omitempty"`
	Note   string  `json:"note,omitempty"`
	Count  uint64  `json:"count,omitempty"` // of what a note tells
	Anchor *Anchor `json:"anchor,omitempty"`
}

// Event is who wants what.
type Event struct {
	ID    string `json:"id,omitempty"`    // the same at both ends
	Trace string `json:"trace,omitempty"` // id of the trace that it is part of (W3C Trace Context)

	User   string   `json:"user,omitempty"`
	Groups []string `json:"groups,omitempty"`
	Role   string   `json:"role,omitempty"`
	Remote string   `json:"remote,omitempty"` // address of who asks, where it is seen
	Agent  string   `json:"user_agent,omitempty"`

	Cluster     string `json:"cluster,omitempty"`
	Machine     string `json:"machine,omitempty"` // id of that which it went to
	Method      string `json:"method,omitempty"`
	Verb        string `json:"verb,omitempty"`
	APIGroup    string `json:"api_group,omitempty"`
	Resource    string `json:"resource,omitempty"`
	Subresource string `json:"subresource,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Name        string `json:"name,omitempty"`
	Path        string `json:"path,omitempty"`
	Query       string `json:"query,omitempty"`  // only what [Query] lets through
	Target      string `json:"target,omitempty"` // of a connection to a service: what was dialled, host:port
}

// Result is what came of it.
type Result struct {
	Began      time.Time `json:"began"`
	DurationMS int64     `json:"duration_ms"`
	Status     int       `json:"status"`           // of HTTP; 101 is an upgrade
	Reason     string    `json:"reason,omitempty"` // why it was refused, or ended
	Cut        *int64    `json:"cut_at,omitempty"` // the answer ended before its time, after so many bytes
	In         int64     `json:"bytes_in"`         // from who asks
	Out        int64     `json:"bytes_out"`
}

// File is what a file begins with.
type File struct {
	Chain  string `json:"chain"`  // random, made with the first file
	Number int    `json:"number"` // rises by one from file to file
	Oldest int    `json:"oldest"` // number of the oldest one that is kept
	End    string `json:"end"`    // whose log it is: gateway, agent
	Broken string `json:"broken,omitempty"`
}

// Opened is how a process has found the log.
type Opened struct {
	Clean    bool   `json:"clean"`              // the one before has ended in order
	Torn     int    `json:"torn,omitempty"`     // bytes of a line that was not finished; they were cut off
	TornSum  string `json:"torn_sum,omitempty"` // SHA-256 of them
	Missing  uint64 `json:"missing,omitempty"`  // records that had been on the disk and are not there
	Version  string `json:"version,omitempty"`  // of the program
	Required bool   `json:"required,omitempty"` // what cannot be recorded is not done
}

// Head is how far a chain is. Two ends tell each other theirs.
type Head struct {
	Chain string `json:"chain"`
	Seq   uint64 `json:"seq"`
	Sum   string `json:"sum"` // SHA-256 of the line of that record
	// Own counts the records that are no anchors. Where it has not changed there is nothing to anchor: two ends would else anchor each
	// other's anchors for ever.
	Own uint64 `json:"own"`
}

// Anchor is the head of another chain.
type Anchor struct {
	Of string `json:"of"` // whose it is: gateway, or cluster/machine
	Head
}

// Valid reports whether a head from elsewhere has the form of one.
func (h Head) Valid() bool {
	return validHex(h.Chain, 32) && validHex(h.Sum, 64) && h.Seq > 0 && h.Own <= h.Seq
}

func validHex(s string, n int) bool {
	raw, err := hex.DecodeString(s)
	return err == nil && len(s) == n && hex.EncodeToString(raw) == s
}

// Bounds of what a record takes over from a request.
const (
	maxText   = 256  // bytes of a name
	maxPath   = 1024 // bytes of a path
	maxGroups = 32
)

// bounded cuts what others have written to a length that a record can have.
func (e Event) bounded() Event {
	for _, field := range []*string{&e.ID, &e.Trace, &e.User, &e.Role, &e.Remote, &e.Agent, &e.Cluster, &e.Machine, &e.Method, &e.Verb,
		&e.APIGroup, &e.Resource, &e.Subresource, &e.Namespace, &e.Name, &e.Query, &e.Target} {
		*field = clip(*field, maxText)
	}
	e.Path = clip(e.Path, maxPath)
	if len(e.Groups) > 0 {
		groups := e.Groups[:min(len(e.Groups), maxGroups)]
		e.Groups = make([]string, 0, len(groups))
		for _, g := range groups {
			e.Groups = append(e.Groups, clip(g, maxText))
		}
	}
	return e
}

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	const mark = "…"
	end := most - len(mark)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + mark
}

// String is what a record is about, in one line for people.
func (e Event) String() string {
	what := e.Verb
	if e.Resource != "" {
		what += " " + e.Resource
		if e.APIGroup != "" {
			what += "." + e.APIGroup
		}
		if e.Subresource != "" {
			what += "/" + e.Subresource
		}
		if e.Name != "" {
			what += " " + e.Name
		}
		if e.Namespace != "" {
			what += " in " + e.Namespace
		}
	} else {
		what += " " + e.Path
	}
	if e.Query != "" {
		what += "?" + e.Query
	}
	if e.Target != "" {
		what += " at " + e.Target
	}
	return strings.TrimSpace(what)
}
