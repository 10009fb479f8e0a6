package distro

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
)

var (
	//go:embed k3s.initd
	k3sInitScript string
	//go:embed pipeops-agent.initd
	agentInitScript string
)

// OpenRC reports whether services are OpenRC's: it is there, or the init of Alpine, which starts no other.
func OpenRC(f host.Facts) bool {
	alpine := f.OS.Family == "alpine" && (f.Init.Name == "init" || f.Init.Name == "")
	return (f.Init.OpenRC.Value || alpine) && !f.Init.Systemd.Value
}

// enabling is the command that makes a unit start at boot.
func enabling(openRC bool, unit string) []string {
	if openRC {
		return []string{"rc-update", "add", strings.TrimSuffix(unit, ".service"), "default"}
	}
	return []string{"systemctl", "enable", unit}
}

// starting is the command that starts a unit.
func starting(openRC bool, unit string) []string {
	if openRC {
		return []string{"rc-service", strings.TrimSuffix(unit, ".service"), "start"}
	}
	return []string{"systemctl", "start", unit}
}

// startingLine is the command for people.
func startingLine(f host.Facts, unit string) string {
	if Supervised(f) { // of somebody else's: ours are told by Mend
		return "service " + openrcName(unit) + " start"
	}
	return strings.Join(starting(OpenRC(f), unit), " ")
}

// logLine is how people read what a service of somebody else's said.
func logLine(f host.Facts, unit string) string {
	if OpenRC(f) || Supervised(f) {
		return "/var/log/" + unit + ".log"
	}
	return "journalctl -u " + unit
}

var systemctlK3s = regexp.MustCompile(`systemctl (start|stop|restart) k3s\b`)

// inWordsOf writes what people are told to do with k3s, in the words of systemd, in those of what starts services on this machine.
func inWordsOf(f host.Facts, fix string) string {
	switch {
	case Supervised(f):
		fix = systemctlK3s.ReplaceAllString(fix, "pipeops-agent services $1 k3s")
	case OpenRC(f):
		fix = systemctlK3s.ReplaceAllString(fix, "rc-service k3s $1")
	default:
		return fix
	}
	return strings.NewReplacer(", systemctl list-units 'k3s*'", "", "journalctl -k", "dmesg").Replace(fix)
}

// Mend says how a unit of ours is started on this machine, and where it says why it stopped.
func Mend(f host.Facts, unit string) string {
	name := openrcName(unit)
	switch {
	case Supervised(f):
		return "pipeops-agent services start " + name + "; /var/log/" + name + ".log says why it stopped"
	case OpenRC(f):
		return "rc-service " + name + " start; /var/log/" + name + ".log says why it stopped"
	}
	return "systemctl start " + name + "; journalctl -u " + name + " says why it stopped"
}

// underOpenRC makes the unit a service of OpenRC, with a script that starts the same program. What systemd's journal does
// is done by a file in /var/log, which logrotate keeps short.
func (s service) underOpenRC(script string) service {
	name := openrcName(s.name)
	s.kind = "OpenRC service " + name
	s.target, s.mode, s.content = "/etc/init.d/"+name, 0o755, []byte(script)
	s.log = "/var/log/" + name + ".log"
	s.rotate = "/etc/logrotate.d/" + name
	return s
}

// openrcName is the name under which OpenRC knows a unit.
func openrcName(unit string) string { return strings.TrimSuffix(unit, ".service") }

// rotation is how logrotate keeps a log short: 4 files of at most some 50 MB. It copies, since the service has the file open.
func rotation(log string) []byte {
	return fmt.Appendf(nil, `%s.
%s {
	weekly
	maxsize 50M
	rotate 3
	compress
	copytruncate
	missingok
	notifempty
}
`, ownMarker, log)
}

// script returns the script that starts k3s, with what remedies change in it.
func (k *k3sInstall) script() string {
	script := strings.Replace(k.asWorker(k3sInitScript), "command=/usr/local/bin/k3s\n", "command="+k.binaryPath()+"\n", 1)
	if slices.ContainsFunc(k.Install.Remedies, func(r Remedy) bool { return r.ID == RemedySharedRoot }) {
		script = strings.Replace(script, "\nshared_root=no\n", "\nshared_root=yes\n", 1)
	}
	return script
}

// agentScript returns the script for an agent at the given path; it refuses paths that would need quoting.
func agentScript(binary string) (string, error) {
	if !filepath.IsAbs(binary) || strings.ContainsAny(binary, " \t\n\"'`\\$;&|<>()#*?[~") {
		return "", fmt.Errorf("cannot make a service for %q: not a plain absolute path", binary)
	}
	return strings.Replace(agentInitScript, "command=/usr/bin/pipeops-agent\n", "command="+binary+"\n", 1), nil
}

// maxLogTail bounds what is read of the end of a log, in bytes: about as many lines as are asked of the journal.
const maxLogTail = 1 << 20

// logTail returns the end of a log, "" where there is none.
func logTail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return ""
	} else if st.Size() > maxLogTail {
		if _, err := f.Seek(-maxLogTail, io.SeekEnd); err != nil {
			return ""
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, maxLogTail))
	if err != nil {
		return ""
	}
	return string(bytes.ToValidUTF8(text, nil))
}
