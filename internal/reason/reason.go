// Package reason is the catalogue of everything that can go wrong in a way a user may meet: a stable code, the exit
// code of the process, a title, the way out, where that must be done and what it costs. An [Error] joins an entry of
// the catalogue with the evidence that was seen.
package reason

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Code is a stable identifier such as NET_PORT_TAKEN. Codes are never renamed or reused.
type Code string

// Where says on which side a fix must be applied.
type Where string

// The places where a fix can be applied.
const (
	Here      Where = "here"
	OuterHost Where = "outer host"
	Gateway   Where = "gateway"
	Mirror    Where = "mirror"
)

// Cost says what a fix takes. Only CostNone and CostSysctl are ever applied without consent.
type Cost string

// The costs of a fix, cheapest first.
const (
	CostNone      Cost = "none"
	CostSysctl    Cost = "sysctl"
	CostPackage   Cost = "package"
	CostReboot    Cost = "reboot"
	CostOuterHost Cost = "outer host"
)

// Exit codes of the commands. They are a contract: scripts and fleets rely on them.
const (
	ExitOK            = 0
	ExitInternal      = 1 // a fault that no entry of the catalogue describes
	ExitUsage         = 2
	ExitHostRefused   = 10
	ExitReboot        = 11
	ExitOuterHost     = 12
	ExitWaiver        = 13
	ExitDownload      = 20
	ExitSignature     = 21
	ExitRolledBack    = 30
	ExitNotRolledBack = 31
	ExitUnhealthy     = 40
	ExitTunnel        = 50
	ExitBusy          = 75
)

// Entry is one line of the catalogue.
type Entry struct {
	Code  Code   `json:"code"`
	Exit  int    `json:"exit"`
	Title string `json:"title"`
	Fix   string `json:"fix"`
	Where Where  `json:"where"`
	Cost  Cost   `json:"cost"`
}

// Doc returns the anchor of the entry in docs/reasons.md.
func (e Entry) Doc() string {
	return "docs/reasons.md#" + strings.ToLower(string(e.Code))
}

// Lookup returns the entry of a code. A code outside the catalogue is a programming fault and panics; a test walks the
// sources and checks that every code in use is in the catalogue.
func Lookup(code Code) Entry {
	for _, e := range All() {
		if e.Code == code {
			return e
		}
	}
	panic("reason: no such code: " + string(code))
}

// Error is an entry with what was seen. Err is the cause, if there is one.
type Error struct {
	Entry
	Evidence string
	Err      error
}

// New returns an error of the given code. The evidence states what was seen, in one line: "port 6443 is held by nginx (pid 812)".
func New(code Code, evidence string, err error) *Error {
	return &Error{Entry: Lookup(code), Evidence: evidence, Err: err}
}

// Newf is New with a formatted evidence and no cause.
func Newf(code Code, format string, args ...any) *Error {
	return New(code, fmt.Sprintf(format, args...), nil)
}

// WithFix returns a copy whose way out is more specific than that of the catalogue.
func (e *Error) WithFix(fix string) *Error {
	c := *e
	c.Fix = fix
	return &c
}

// Error gives title, evidence and cause in one line, without the fix.
func (e *Error) Error() string {
	if why := e.Why(); why != "" {
		return e.Title + ": " + why
	}
	return e.Title
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Exit returns the exit code that err asks for: 0 for nil, that of the outermost [Error], else [ExitInternal].
func Exit(err error) int {
	if err == nil {
		return ExitOK
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Entry.Exit
	}
	return ExitInternal
}

// Is reports whether err carries the given code anywhere in its tree.
func Is(err error, code Code) bool {
	if e, ok := err.(*Error); ok && e.Code == code { //nolint:errorlint // the tree is walked here
		return true
	}
	switch wrapping := err.(type) { //nolint:errorlint // likewise
	case interface{ Unwrap() error }:
		return Is(wrapping.Unwrap(), code)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(wrapping.Unwrap(), func(e error) bool { return Is(e, code) })
	}
	return false
}
