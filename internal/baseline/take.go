package baseline

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/command"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/remains"
)

const (
	// maxFile bounds what is read of one file, in bytes: the status of dpkg has 10 MiB on a desktop.
	maxFile = 64 << 20
	// askLimit is for one program.
	askLimit = 20 * time.Second
)

// Env is where a snapshot is taken. The zero value is this machine.
type Env struct {
	Root string // below it lie the files of the machine; "" means the machine itself
	Now  func() time.Time
	Run  func(ctx context.Context, limit time.Duration, argv ...string) ([]byte, error) // nil means [command.Run]
}

// Take takes a snapshot. What cannot be seen is left out, so that it is not compared.
func Take(ctx context.Context, e Env, facts host.Facts) Baseline {
	now := e.Now
	if now == nil {
		now = time.Now
	}
	b := Baseline{Format: format, Version: version, Taken: now().UTC().Truncate(time.Second), Seen: map[string][]string{}}
	for kind, list := range map[string]func(context.Context) ([]string, error){
		Files: e.files, Units: e.units, Services: e.services, Packages: e.packages,
		Users:   func(context.Context) ([]string, error) { return e.accounts("/etc/passwd") },
		Groups:  func(context.Context) ([]string, error) { return e.accounts("/etc/group") },
		Objects: func(ctx context.Context) ([]string, error) { return objects(ctx, facts.Docker) },
		Ports:   func(context.Context) ([]string, error) { return ports(facts) },
		Sysctls: func(ctx context.Context) ([]string, error) { return remains.Sysctls(remains.Env{Root: e.Root}) },
		Rules:   e.live(remains.Rules), Mounts: e.live(remains.Mounts), Modules: e.live(remains.Modules), Links: e.live(links),
	} {
		seen, err := list(ctx)
		if err != nil || len(seen) > maxEntries {
			continue
		}
		slices.Sort(seen)
		b.Seen[kind] = slices.Compact(append([]string{}, seen...))
	}
	if raw, err := json.Marshal(facts.Report()); err == nil {
		b.Facts = raw
	}
	return b
}

var errNotLive = errors.New("only the kernel of this machine can be asked")

func (e Env) live(list func() ([]string, error)) func(context.Context) ([]string, error) {
	return func(context.Context) ([]string, error) {
		if e.Root != "" {
			return nil, errNotLive
		}
		return list()
	}
}

func (e Env) path(target string) string { return filepath.Join("/", e.Root, target) }

func (e Env) run(ctx context.Context, argv ...string) ([]byte, error) {
	if e.Run != nil {
		return e.Run(ctx, askLimit, argv...)
	}
	return command.Run(ctx, askLimit, argv...)
}

// files lists the names in the folders that are compared.
func (e Env) files(context.Context) ([]string, error) {
	var all []string
	for _, dir := range folders() {
		entries, err := os.ReadDir(e.path(dir))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			all = append(all, filepath.Join(dir, entry.Name()))
		}
	}
	return all, nil
}

// units lists the unit files of systemd and whether they are enabled, or the services in the runlevels of OpenRC.
func (e Env) units(ctx context.Context) ([]string, error) {
	if e.openRC() {
		found, err := filepath.Glob(e.path("/etc/runlevels/*/*"))
		var all []string
		for _, path := range found {
			all = append(all, filepath.Base(path)+"=in "+filepath.Base(filepath.Dir(path)))
		}
		return all, err
	}
	out, err := e.run(ctx, "systemctl", "list-unit-files", "--no-legend", "--no-pager", "--full")
	if err != nil {
		return nil, err
	}
	var all []string
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch filepath.Ext(fields[0]) {
		case ".service", ".socket", ".timer", ".path", ".target": // others come and go by themselves
			if state := fields[1]; state != "transient" && state != "generated" {
				all = append(all, fields[0]+"="+state)
			}
		}
	}
	return all, nil
}

// services lists those that run and are to run at every boot.
func (e Env) services(ctx context.Context) ([]string, error) {
	if e.openRC() {
		found, err := filepath.Glob(e.path("/run/openrc/started/*"))
		var all []string
		for _, path := range found {
			all = append(all, filepath.Base(path))
		}
		return all, err
	}
	enabled, err := e.units(ctx)
	if err != nil {
		return nil, err
	}
	out, err := e.run(ctx, "systemctl", "list-units", "--type=service", "--state=running", "--no-legend", "--no-pager", "--full", "--plain")
	if err != nil {
		return nil, err
	}
	var all []string
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) > 0 && slices.Contains(enabled, fields[0]+"=enabled") {
			all = append(all, fields[0])
		}
	}
	return all, nil
}

func (e Env) openRC() bool {
	_, err := os.Stat(e.path("/run/systemd/system"))
	_, openrc := os.Stat(e.path("/etc/runlevels"))
	return err != nil && openrc == nil
}

// packages lists the packages with their versions.
func (e Env) packages(ctx context.Context) ([]string, error) {
	for path, parse := range map[string]func(io.Reader) ([]string, error){
		"/var/lib/dpkg/status":  parseDpkg,
		"/lib/apk/db/installed": parseApk,
	} {
		f, err := os.Open(e.path(path))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all, err := parse(io.LimitReader(f, maxFile))
		return all, errors.Join(err, f.Close())
	}
	out, err := e.run(ctx, "rpm", "-qa", "--qf", "%{NAME}.%{ARCH}=%{VERSION}-%{RELEASE}\\n")
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(out)), nil
}

// parseDpkg reads the status file of dpkg: those that are installed.
func parseDpkg(r io.Reader) ([]string, error) {
	var all []string
	var name, arch, number string
	installed := false
	end := func() {
		if installed && name != "" {
			all = append(all, name+":"+arch+"="+number)
		}
		name, arch, number, installed = "", "", "", false
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "":
			end()
		case "Package":
			name = value
		case "Architecture":
			arch = value
		case "Version":
			number = value
		case "Status":
			installed = strings.HasSuffix(value, " installed")
		}
	}
	end()
	return all, lines.Err()
}

// parseApk reads the database of apk.
func parseApk(r io.Reader) ([]string, error) {
	var all []string
	name := ""
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		switch line := lines.Text(); {
		case strings.HasPrefix(line, "P:"):
			name = line[2:]
		case strings.HasPrefix(line, "V:") && name != "":
			all = append(all, name+"="+line[2:])
			name = ""
		}
	}
	return all, lines.Err()
}

// accounts lists the names of a file of users or groups with their numbers.
func (e Env) accounts(path string) ([]string, error) {
	f, err := os.Open(e.path(path))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, err
	}
	return parseAccounts(raw), nil
}

func parseAccounts(raw []byte) []string {
	var all []string
	for line := range bytes.Lines(raw) {
		if fields := strings.Split(strings.TrimSpace(string(line)), ":"); len(fields) >= 3 && fields[0] != "" {
			all = append(all, fields[0]+"="+fields[2])
		}
	}
	return all
}

// highPorts are where the kernel takes ports for connections that go out: what listens there comes and goes.
const highPorts = 32768

func ports(f host.Facts) ([]string, error) {
	if f.Listening == nil {
		return nil, fmt.Errorf("cannot list the ports: %s", f.Errors["ports"])
	}
	var all []string
	for _, l := range f.Listening {
		if l.Port < highPorts {
			all = append(all, fmt.Sprintf("%s %d", strings.TrimRight(l.Proto, "46"), l.Port))
		}
	}
	return all, nil
}

// links lists the network links, but the ends of pairs, which come and go with containers.
func links() ([]string, error) {
	found, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, l := range found {
		if !strings.HasPrefix(l.Name, "veth") {
			all = append(all, l.Name)
		}
	}
	return all, nil
}
