// Package version knows the version of this build.
package version

import "runtime/debug"

// version is set by the linker: -X github.com/pipeopshq/pipeops-agent/internal/version.version=v1.2.3.
var version string

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
