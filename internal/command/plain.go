package command

import "regexp"

// plain takes out of a text what is for a terminal: colours and other sequences (ECMA-48: CSI, and OSC), whole or cut at the end.
func plain(text []byte) []byte {
	return regexp.MustCompile(`\x1b(\[[0-?]*[ -/]*([@-~]|$)|\][^\x07\x1b]*(\x07|\x1b\\|$)|.?)`).ReplaceAll(text, nil)
}
