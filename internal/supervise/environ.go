package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
)

const (
	// maxEnvFile bounds a file with an environment, in bytes.
	maxEnvFile = 256 << 10
	// ownMark is the variable that all processes of a service carry, as long as they do not clear it.
	ownMark = "PIPEOPS_SERVICE="
	// path is that of systemd's services.
	path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// environment makes that of a service. Nothing of our own environment gets in: there may be a token in it.
func (s Service) environment(notify string) ([]string, error) {
	env := []string{path, "LANG=C.UTF-8", "HOME=/root", ownMark + s.Name}
	for _, file := range s.EnvFiles {
		text, err := atomicfile.Read(file, maxEnvFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the environment of %s: %w", s.Name, err)
		}
		env = append(env, parseEnvironment(string(text))...)
	}
	if s.Notify && notify != "" {
		env = append(env, "NOTIFY_SOCKET="+notify)
		if s.Watchdog > 0 {
			env = append(env, fmt.Sprintf("WATCHDOG_USEC=%d", s.watchdog().Microseconds()))
		}
	}
	return env, nil
}

// parseEnvironment reads lines of NAME=value, as systemd and a shell read them both: blanks around are cut, quotes around a
// value are taken off, # begins a comment at the begin of a line. Other lines are left out.
func parseEnvironment(text string) []string {
	var env []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		line = strings.TrimPrefix(line, "export ")
		name, value, ok := strings.Cut(line, "=")
		if !ok || !validVariable(name) || strings.ContainsRune(value, 0) {
			continue
		}
		if n := len(value); n >= 2 && (value[0] == '\'' || value[0] == '"') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		env = append(env, name+"="+value)
	}
	return env
}

func validVariable(name string) bool {
	for i, r := range name {
		letter := r == '_' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != "" && name+"=" != ownMark
}
