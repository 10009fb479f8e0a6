package distro

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/remains"
)

// engineTraces is the kind of what the package of an engine leaves beside its folders when it is removed: its link, its socket and its
// group. The target is the engine, before are those that were there: "docker0", "/run/docker.sock", "group docker".
const engineTraces plan.Kind = "engine-traces"

const (
	engineLink  = "docker0"
	engineGroup = "docker"
	// engineData is where the engine of a package keeps what people have given it.
	engineData = "/var/lib/docker"
)

// engineFolders makes what an engine that we install keeps ours, before it does so: undone after its package is gone, and only then.
func (n *nodeCluster) engineFolders() plan.Step {
	owned := []string{"/etc/docker", engineData, "/var/lib/containerd", "/opt/containerd", "/run/docker", "/run/containerd"}
	return plan.Step{
		ID: "engine-folders", Title: "Note what the engine will make", Changes: owned,
		Done: func(ctx context.Context) (bool, error) { return n.answers(ctx) == nil, nil },
		Do: func(ctx context.Context, r *plan.Recorder) error {
			for _, thing := range slices.Backward(remains.Engine(n.remains(""))) {
				before, err := thing.List(ctx)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err != nil { // where it cannot be told what is whose, nothing of it is removed later
					continue
				}
				if err := r.Expect(plan.Kind(thing.Kind), "docker", before); err != nil {
					return err
				}
			}
			if err := r.Expect(engineTraces, "docker", n.engineTracesThere()); err != nil {
				return err
			}
			for _, dir := range n.engineShared() {
				if err := r.MkdirAll(dir, 0o755); err != nil {
					return err
				}
			}
			for _, dir := range owned {
				program := "dockerd"
				if strings.HasSuffix(dir, "/containerd") {
					program = "containerd"
				}
				if err := r.Own(dir, places(program)...); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// engineShared lists the folders that an engine makes and that others fill too: they go when they are empty.
func (n *nodeCluster) engineShared() []string {
	all := []string{"/etc/cni/net.d"}
	if !n.OpenRC && !n.Supervised {
		all = append(all, "/etc/systemd/system/sockets.target.wants")
	}
	return all
}

// places lists where packages put a program.
func places(program string) []string {
	return []string{"/usr/bin/" + program, "/usr/sbin/" + program}
}

// enginePrograms lists the programs of an engine that is installed.
func (in Install) enginePrograms() []string {
	var there []string
	for _, path := range places("dockerd") {
		if _, err := os.Lstat(in.path(path)); err == nil {
			there = append(there, path)
		}
	}
	return there
}

// engineTracesThere lists the link, the socket and the group of an engine, if they are there.
func (in Install) engineTracesThere() []string {
	var there []string
	if in.Root == "" {
		if _, err := net.InterfaceByName(engineLink); err == nil {
			there = append(there, engineLink)
		}
	}
	if _, err := os.Lstat(in.path(dockerSocket)); err == nil {
		there = append(there, dockerSocket)
	}
	if in.groupLine(engineGroup) != "" {
		there = append(there, "group "+engineGroup)
	}
	return there
}

// groupLine returns the line of a group: "docker:x:110:".
func (in Install) groupLine(name string) string {
	text, err := os.ReadFile(in.path("/etc/group"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, name+":") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// removeEngineTraces removes the link, the socket and the group that have come with the engine, once it has gone.
func (in Install) removeEngineTraces(ctx context.Context, c plan.Record) (left []string, err error) {
	if in.enginePrograms() != nil {
		return nil, nil
	}
	for _, name := range in.engineTracesThere() {
		switch {
		case slices.Contains(c.Before.Names, name):
		case name == engineLink:
			if err := in.change(ctx, "ip", "link", "delete", name); err != nil {
				return left, err
			}
		case name == dockerSocket:
			if err := atomicfile.Remove(in.path(name)); err != nil {
				return left, err
			}
		case !strings.HasSuffix(in.groupLine(engineGroup), ":"):
			left = append(left, name+": it has members")
		default:
			if err := in.change(ctx, "groupdel", engineGroup); err != nil {
				left = append(left, name+": "+err.Error())
			}
		}
	}
	return left, nil
}

// engineHolds lists what the engine has that is not ours, when our cluster is gone: it would be lost with its package. Of one that does not run
// the folders of containers and volumes tell.
func (in Install) engineHolds(ctx context.Context) ([]string, error) {
	c, err := in.engine(ctx)
	if err != nil {
		var all []string
		for kind, dir := range map[string]string{"container": "containers", "volume": "volumes"} {
			entries, _ := os.ReadDir(in.path(filepath.Join(engineData, dir)))
			for _, e := range entries {
				if e.IsDir() {
					all = append(all, kind+" "+e.Name())
				}
			}
		}
		slices.Sort(all)
		return all, ctx.Err()
	}
	defer c.Close()
	containers, err := c.Containers(ctx, "")
	if err != nil {
		return nil, err
	}
	volumes, err := c.Volumes(ctx)
	if err != nil {
		return nil, err
	}
	networks, err := c.Networks(ctx)
	if err != nil {
		return nil, err
	}
	images, err := c.Images(ctx)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, c := range containers {
		all = append(all, "container "+c.Name())
	}
	for _, v := range volumes {
		all = append(all, "volume "+v.Name)
	}
	for _, w := range networks {
		if !slices.Contains([]string{"bridge", "host", "none"}, w.Name) {
			all = append(all, "network "+w.Name)
		}
	}
	for _, i := range images {
		all = append(all, "image "+strings.Join(append(i.Tags, i.ID)[:1], ""))
	}
	return all, nil
}

// unlessUsed undoes the start of a unit, now or at every boot, unless it is an engine's, and in that runs what is not ours: it would end, or
// not come back with the machine.
func (in Install) unlessUsed(undo func(context.Context, plan.Record) ([]string, error)) func(context.Context, plan.Record) ([]string, error) {
	return func(ctx context.Context, c plan.Record) ([]string, error) {
		if c.Target != dockerUnit && c.Target != snapUnit {
			return undo(ctx, c)
		}
		running, err := in.engineRunning(ctx)
		if err != nil {
			return nil, err
		}
		if len(running) > 0 {
			return []string{c.Target + ": Docker runs " + some(running) + ", which are not ours"}, nil
		}
		return undo(ctx, c)
	}
}

// engineRunning lists the containers that have not ended, when our cluster is gone; none where the engine does not answer.
func (in Install) engineRunning(ctx context.Context) ([]string, error) {
	c, err := in.engine(ctx)
	if err != nil {
		return nil, ctx.Err()
	}
	defer c.Close()
	all, err := c.Containers(ctx, "")
	if err != nil {
		return nil, err
	}
	var running []string
	for _, c := range all {
		if slices.Contains([]string{"running", "paused", "restarting"}, c.State) {
			running = append(running, "container "+c.Name())
		}
	}
	return running, nil
}

// maxHeld bounds how much of what an engine holds is named.
const maxHeld = 5

func some(held []string) string {
	if len(held) > maxHeld {
		held = append(held[:maxHeld:maxHeld], "and others")
	}
	return strings.Join(held, ", ")
}

// removePackages removes packages that we have installed. Those of an engine stay as long as it holds what is not ours; settings of a
// package go with it, unless somebody has changed them.
func (in Install) removePackages(ctx context.Context, c plan.Record) ([]string, error) {
	v := c.Reversal
	if v == nil {
		return nil, nil
	}
	what := "package " + c.Target
	if len(v.Check) > 0 {
		if _, err := in.run(ctx, v.Check...); errors.Is(err, context.DeadlineExceeded) {
			return nil, err
		} else if err != nil {
			return nil, ctx.Err() // they are gone already, or never came
		}
	}
	ofEngine := slices.ContainsFunc(strings.Fields(c.Target), isEnginePackage)
	if ofEngine {
		held, err := in.engineHolds(ctx)
		if err != nil {
			return nil, err
		}
		if len(held) > 0 {
			return []string{what + ": Docker has " + some(held) + ", which are not ours"}, nil
		}
	}
	argv := v.Undo
	purges := len(argv) > 2 && argv[0] == "dpkg" && argv[1] == "--purge"
	var changed []byte
	if purges {
		// a failure is told by what it says
		changed, _ = in.run(ctx, append([]string{"dpkg", "--verify"}, argv[2:]...)...)
		argv = append([]string{"dpkg", "--remove"}, argv[2:]...)
	}
	if err := in.changeFor(ctx, packageLimit, argv...); err != nil {
		if managerLocked.MatchString(err.Error()) { // the next call removes them
			return nil, reason.New(reason.HostPackagesBusy, what+" cannot be removed now", err)
		}
		if v.Lax && ctx.Err() == nil {
			return []string{what + ": somebody else needs it"}, nil
		}
		return nil, err
	}
	if !purges {
		return nil, nil
	}
	if files := changedSettings(changed); len(files) > 0 {
		return []string{what + ": somebody has changed its settings " + strings.Join(files, ", ")}, nil
	}
	if ofEngine {
		// by it a purge would delete all that is in the folder; what is ours there goes by the ledger
		if err := os.Remove(in.path(engineData + "/nuke-graph-directory.sh")); err != nil && !os.IsNotExist(err) {
			return []string{what + ": its settings: " + err.Error()}, nil
		}
	}
	if err := in.changeFor(ctx, packageLimit, v.Undo...); err != nil {
		return []string{what + ": its settings: " + err.Error()}, nil
	}
	return nil, nil
}

// managerLocked is how dpkg, rpm, pacman, apk and zypper say that somebody else is installing or removing packages.
var managerLocked = regexp.MustCompile(`locked by another process|transaction lock|[Uu]nable to lock database|management is locked`)

// isEnginePackage reports whether a package is one that holds the engine.
func isEnginePackage(name string) bool {
	return slices.Contains([]string{"docker.io", "moby-engine", "docker"}, name)
}

// changedSettings reads the settings that were changed out of what dpkg --verify says: "??5??????   c /etc/default/docker".
func changedSettings(out []byte) []string {
	var files []string
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[1] == "c" && len(fields[0]) > 2 && fields[0][2] == '5' {
			files = append(files, fields[2])
		}
	}
	return files
}
