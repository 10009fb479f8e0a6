package nodes

import (
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// shared returns the settings that a further server must share, out of the arguments of one that is there, as k3s writes
// them on its Node: each flag is an item, its value, if it has one, the next.
func shared(args []string) map[string][]string {
	known := wire.SharedSettings()
	settings := map[string][]string{}
	for i := 0; i < len(args); i++ {
		name, ok := strings.CutPrefix(args[i], "--")
		if !ok {
			continue
		}
		name, value, whole := strings.Cut(name, "=")
		if !whole {
			value = "true"
			if i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
				i++
				value = args[i]
			}
		}
		if slices.Contains(known, name) && value != "" && !slices.Contains(settings[name], value) {
			settings[name] = append(settings[name], value)
		}
	}
	return settings
}
