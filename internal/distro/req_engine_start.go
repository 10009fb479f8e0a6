package distro

import (
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/engine"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// dockerSocket is where an engine answers, for people; varDockerSocket is the same, where /var/run is no link.
const (
	dockerSocket    = engine.Socket
	varDockerSocket = "/var/run/docker.sock"
)

// dockerOf returns the Docker engine that is installed here; one without a name is none. Remains are none either.
func dockerOf(f host.Facts) host.Runtime {
	for _, r := range f.Runtimes {
		if r.Name == "docker" && r.State != host.Debris {
			return r
		}
	}
	return host.Runtime{}
}

// unitOfEngine is what starts an engine: that of the package, or of the snap.
func unitOfEngine(r host.Runtime) string {
	if slices.ContainsFunc(r.Evidence, func(p string) bool { return strings.HasSuffix(p, "/"+snapUnit) }) {
		return snapUnit
	}
	return dockerUnit
}

// mayStart reports whether an install can start an engine now and have it started at every boot.
func mayStart(c Case) bool {
	return c.Facts.UID.Or(0) == 0 && (c.Facts.Init.Systemd.Value || OpenRC(c.Facts))
}

// stoppedEngine tells of an engine that is installed and does not run.
func stoppedEngine(c Case, engine host.Runtime) Finding {
	unit := unitOfEngine(engine)
	f := unmet("Docker is installed and not running ("+firstOf(engine.Evidence)+")", "a running Docker engine").
		fixed("start Docker: " + startingLine(c.Facts, strings.TrimSuffix(unit, ".service")))
	f.Code, f.Cost = reason.EngineStopped, reason.CostNone
	if !mayStart(c) {
		return f
	}
	return f.cured(startEngine(unit))
}

func startEngine(unit string) Remedy {
	return remedy(RemedyEngineStart, "Docker is started, now and at every boot", unit).
		risking("containers that are set to restart are started with it")
}

// machineEngine needs the engine that answers to be the one of this machine. Another one, that of a user or one that only the caller's
// environment tells of, is not there when the machine boots, and is not asked by an install.
func machineEngine() Requirement {
	return Requirement{Name: "engine-socket", Code: reason.DockerUnreachable, Judge: func(c Case) Finding {
		d := c.Facts.Docker
		if !d.Reachable.Value || c.Facts.OS.Kind != "linux" || slices.Contains([]string{"", dockerSocket, "/var/run/docker.sock"}, d.Socket) {
			return met()
		}
		const want = "an engine that root runs, at " + dockerSocket
		switch {
		case d.Denied.Value:
			f := unmet("the engine of this machine may not be asked by this user; another one answers at "+d.Socket, "the rights to ask the engine").
				fixed("run the command with sudo")
			f.Cost = reason.CostNone
			return f
		case d.Rootless.Value:
			f := unmet("the engine that answers is that of a user ("+d.Socket+"), which comes and goes with its user", want).
				fixed("let root run an engine beside it, which changes nothing in that of the user: " + rootsEngine(c.Facts))
			f.Code = reason.DockerRootless
			f.Cost = costOfEngine(c.Facts)
			return f
		}
		f := unmet("an engine answers at "+d.Socket+", and none at "+dockerSocket, want).
			fixed("let it answer there too: \"hosts\" in /etc/docker/daemon.json; or let root run an engine: " + rootsEngine(c.Facts))
		f.Cost = reason.CostNone
		return f
	}}
}

// rootsEngine says how root gets an engine of its own: by starting the one that is installed, or else by installing it.
func rootsEngine(f host.Facts) string {
	packages := enginePackages(f)
	switch {
	case dockerOf(f).Name != "":
		return startingLine(f, strings.TrimSuffix(unitOfEngine(dockerOf(f)), ".service"))
	case len(packages) > 0:
		return "install " + strings.Join(packages, ", ") + ", and then " + startingLine(f, "docker")
	}
	return "as its documentation says for this system (docs.docker.com/engine/install)"
}

// costOfEngine is what rootsEngine costs.
func costOfEngine(f host.Facts) reason.Cost {
	if dockerOf(f).Name != "" {
		return reason.CostNone
	}
	return reason.CostPackage
}

func firstOf(all []string) string {
	if len(all) == 0 {
		return "unit docker.service"
	}
	return all[0]
}

// missingEngine offers the engine of the system's own package archive: never a script of somebody else.
func (k containers) missingEngine(c Case, f Finding) Finding {
	f.Evidence, f.Change = "no engine is installed, and none answers at "+dockerSocket, "Docker"
	packages := enginePackages(c.Facts)
	if len(packages) == 0 && k.podman {
		if packages = podmanPackages(c.Facts); len(packages) > 0 {
			f.Change = "Podman"
		}
	}
	if len(packages) == 0 {
		return f.fixed("install Docker as its documentation says for this system (docs.docker.com/engine/install), and start it")
	}
	f = f.fixed("install it from the packages of this system, " + strings.Join(packages, ", ") + ", or run again with --consent package")
	f.Cost = reason.CostPackage
	if !mayStart(c) {
		return f
	}
	if slices.Equal(packages, podmanPackages(c.Facts)) { // it needs no service
		return f.cured(remedy(RemedyPackage, "Podman is installed", packages...).costing(reason.CostPackage))
	}
	return f.cured(
		remedy(RemedyPackage, "Docker is installed", packages...).costing(reason.CostPackage).
			risking("Docker sets the policy of the chain FORWARD to DROP"),
		startEngine(dockerUnit).costing(reason.CostPackage))
}

// enginePackages names the packages of a system's own archive that hold Docker and its command; nil where it has none, or
// where packages come only with a reboot. Sources: packages.debian.org (docker-cli is a package of its own since trixie),
// packages.fedoraproject.org (moby-engine; docker-cli since 41), the package lists of Ubuntu, Alpine, Arch, openSUSE, SLES and Amazon Linux.
func enginePackages(f host.Facts) []string {
	major, _, _ := strings.Cut(f.OS.Version, ".")
	newer := func(than string) bool { return len(major) > len(than) || len(major) == len(than) && major >= than }
	switch {
	case f.OS.Kind != "linux" || f.Roots.Immutable != "" || f.OS.Ostree != "":
		return nil
	case f.OS.ID == "ubuntu":
		return []string{"docker.io"}
	case f.OS.ID == "debian" && (f.OS.Version == "" || newer("13")):
		return []string{"docker.io", "docker-cli"}
	case f.OS.Family == "debian":
		return []string{"docker.io"}
	case f.OS.ID == "fedora" && newer("41"):
		return []string{"moby-engine", "docker-cli"}
	case f.OS.ID == "fedora":
		return []string{"moby-engine"}
	case f.OS.ID == "amzn", f.OS.Family == "alpine", f.OS.Family == "arch", f.OS.Family == "suse":
		return []string{"docker"}
	}
	return nil
}

// podmanPackages names the package of Podman where a system's archive has that in Docker's place: RHEL since 8, and its kin.
func podmanPackages(f host.Facts) []string {
	major, _, _ := strings.Cut(f.OS.Version, ".")
	if f.OS.Kind != "linux" || f.OS.Family != "rhel" || f.OS.ID == "fedora" || f.OS.ID == "amzn" || major == "7" || f.Roots.Immutable != "" || f.OS.Ostree != "" {
		return nil
	}
	return []string{"podman"}
}
