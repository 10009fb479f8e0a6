package wire

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"
)

// HeaderRequest carries the id of a request, which is in the audit logs of both ends: 32 hexadecimal digits. As all of our headers it has a
// meaning on tunnel streams only.
const HeaderRequest = "Pipeops-Request"

// NewRequestID makes the id of a request.
func NewRequestID() string { return random(16) }

// ValidRequestID reports whether s has the form of an id of a request.
func ValidRequestID(s string) bool { return lowerHex(s, 32) }

// The headers of W3C Trace Context (https://www.w3.org/TR/trace-context/). They pass through both ends as they are.
const (
	traceParent = "Traceparent"
	traceState  = "Tracestate"
)

const (
	parentLength = 55 // of version 00
	maxParent    = 256
	maxState     = 512 // what the specification wants to be carried at least
	maxMembers   = 32
)

// Trace is the trace that a request is part of.
type Trace struct {
	parent string
	state  []string
}

// TraceOf returns the trace that a request names, if its form is good. A state that is not good is left behind.
func TraceOf(h http.Header) (Trace, bool) {
	lines := h[traceParent]
	if len(lines) != 1 || !goodParent(lines[0]) {
		return Trace{}, false
	}
	t := Trace{parent: lines[0]}
	if goodState(h[traceState]) {
		t.state = append([]string(nil), h[traceState]...)
	}
	return t, true
}

// NewTrace makes a trace that nobody samples.
func NewTrace() Trace { return Trace{parent: "00-" + random(16) + "-" + random(8) + "-00"} }

// ID is that of the trace: 32 hexadecimal digits.
func (t Trace) ID() string {
	if len(t.parent) < parentLength {
		return ""
	}
	return t.parent[3:35]
}

// Set names the trace in a header, in place of any other.
func (t Trace) Set(h http.Header) {
	h.Del(traceParent)
	h.Del(traceState)
	if t.parent == "" {
		return
	}
	h[traceParent] = []string{t.parent}
	if len(t.state) > 0 {
		h[traceState] = t.state
	}
}

// goodParent checks version-traceid-parentid-flags. Later versions may be longer.
func goodParent(s string) bool {
	if len(s) < parentLength || len(s) > maxParent || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	version := s[:2]
	if !lowerHex(version, 2) || version == "ff" || version == "00" && len(s) != parentLength || len(s) > parentLength && s[parentLength] != '-' {
		return false
	}
	for i := parentLength; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	trace, parent := s[3:35], s[36:52]
	return lowerHex(trace, 32) && strings.Trim(trace, "0") != "" && lowerHex(parent, 16) && strings.Trim(parent, "0") != "" && lowerHex(s[53:55], 2)
}

// goodState checks a list of key=value.
func goodState(lines []string) bool {
	length, members := 0, 0
	for _, line := range lines {
		length += len(line)
		for member := range strings.SplitSeq(line, ",") {
			member = strings.Trim(member, " \t")
			if member == "" {
				continue // the specification lets members be empty
			}
			members++
			key, value, ok := strings.Cut(member, "=")
			if !ok || !goodKey(key) || !goodValue(value) {
				return false
			}
		}
	}
	return length <= maxState && members <= maxMembers
}

func goodKey(s string) bool {
	if s == "" || len(s) > 256 || strings.ContainsRune("_-*/@", rune(s[0])) {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_-*/@") == ""
}

func goodValue(s string) bool {
	if s == "" || len(s) > 256 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > 0x7e || s[i] == ',' || s[i] == '=' {
			return false
		}
	}
	return true
}

func lowerHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}

func random(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails: it ends the process instead
	return hex.EncodeToString(b)
}
