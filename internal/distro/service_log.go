package distro

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/command"
)

const (
	// lastWordsTimeout is for journalctl, which reads the end of its files.
	lastWordsTimeout = 10 * time.Second
	// maxWords bounds the evidence, in bytes: four lines of a terminal.
	maxWords = 400
	// maxWordLines bounds the lines of it.
	maxWordLines = 3
	// journalLines is how many lines of a journal are read: a k3s that does not get ready says some 700 in a minute, and
	// most of them are told in the first one.
	journalLines = "4000"
)

// words returns what a unit logged last, the newest at the end; log is the file that it logs to, "" means the journal.
func (in Install) words(ctx context.Context, unit, log string) Words {
	switch {
	case in.LastWords != nil:
		return Words{Unit: in.LastWords(ctx, unit)}
	case log != "":
		return Words{Unit: logTail(in.path(log))}
	}
	return Words{Unit: journal(ctx, unit)}
}

// journal returns the end of a unit's journal since the boot, "" where there is none. The newest come first from
// journalctl, for of what is too long command.Run keeps the beginning.
func journal(ctx context.Context, unit string) string {
	out, err := command.Run(ctx, lastWordsTimeout, "journalctl", "--unit="+unit, "--lines="+journalLines, "--reverse", "--no-pager", "--output=cat", "--boot", "--quiet")
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	slices.Reverse(lines)
	return strings.Join(lines, "\n")
}

// telling picks from a log the last lines that speak of errors, or its last lines where none does.
func telling(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	var errors []string
	for _, line := range lines {
		if strings.Contains(line, "level=fatal") || strings.Contains(line, "level=error") || strings.Contains(line, "panic:") {
			errors = append(errors, line)
		}
	}
	if len(errors) > 0 {
		lines = errors
	}
	lines = slices.Clone(lines[max(0, len(lines)-maxWordLines):])
	for i, line := range lines {
		lines[i] = secrets().ReplaceAllString(fit(line), hidden)
	}
	said := strings.Join(lines, "; ")
	if over := len(said) - maxWords; over > 0 {
		said = "..." + strings.ToValidUTF8(said[over:], "")
	}
	return said
}
