// Package version knows the version of this build.
package version

import (
	"runtime/debug"
	"strconv"
	"time"
)

// version is set by the linker: -X github.com/pipeopshq/pipeops-agent/internal/version.version=v1.2.3.
var version string

// built is set likewise, to the seconds since 1970 at which the sources were committed.
var built string //nolint:gochecknoglobals // the linker sets it, nothing else does

// String returns the version of this build: what the linker was told, else the module's version, else "dev".
func String() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

// Built returns when the sources of this build were committed, zero if that is not known: the clock of no machine that runs
// it can be right and earlier.
func Built() time.Time {
	if seconds, err := strconv.ParseInt(built, 10, 64); err == nil {
		return time.Unix(seconds, 0).UTC()
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if at, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
			return at
		}
	}
	return time.Time{}
}
