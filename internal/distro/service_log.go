package distro

import (
	"context"
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
)

// lastWords returns the last lines of a unit's journal that tell of an error, "" where there is no journal.
func lastWords(ctx context.Context, name string) string {
	out, err := command.Run(ctx, lastWordsTimeout, "journalctl", "--unit="+name, "--lines=200", "--no-pager", "--output=cat", "--boot")
	if err != nil {
		return ""
	}
	return telling(string(out))
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
	lines = lines[max(0, len(lines)-maxWordLines):]
	said := strings.Join(lines, "; ")
	if over := len(said) - maxWords; over > 0 {
		said = "..." + strings.ToValidUTF8(said[over:], "")
	}
	return said
}
