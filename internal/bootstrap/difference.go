package bootstrap

import (
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Setting is one setting of an install.
type Setting struct {
	Name     string   // of its flag
	Values   []string // one at most, unless it is a list; none means that it is not set
	List     bool
	Restarts string // what is started anew when it changes: "k3s", "pipeops-agent" or "" for nothing
}

// SettingChange is a setting that an install makes another one.
type SettingChange struct {
	Name     string   `json:"name"`
	Before   []string `json:"before"`
	After    []string `json:"after"`
	List     bool     `json:"-"`
	Restarts string   `json:"restarts,omitempty"`
}

// SettingChanges compares two lists of the same settings, in the order of the second. The order within a list counts for nothing.
func SettingChanges(before, after []Setting) []SettingChange {
	var changes []SettingChange
	for _, now := range after {
		i := slices.IndexFunc(before, func(s Setting) bool { return s.Name == now.Name })
		var old []string
		if i >= 0 {
			old = before[i].Values
		}
		if slices.Equal(slices.Sorted(slices.Values(old)), slices.Sorted(slices.Values(now.Values))) {
			continue
		}
		changes = append(changes, SettingChange{
			Name: now.Name, Before: append([]string{}, old...), After: append([]string{}, now.Values...), List: now.List, Restarts: now.Restarts,
		})
	}
	return changes
}

// String is "disable: traefik,servicelb -> servicelb", or "tls-san: + api.example.com" where a list only gets longer.
func (c SettingChange) String() string {
	lost := slices.ContainsFunc(c.Before, func(v string) bool { return !slices.Contains(c.After, v) })
	if c.List && !lost {
		added := slices.DeleteFunc(slices.Clone(c.After), func(v string) bool { return slices.Contains(c.Before, v) })
		return c.Name + ": + " + strings.Join(added, ",")
	}
	return c.Name + ": " + valuesText(c.Before) + " -> " + valuesText(c.After)
}

func valuesText(values []string) string {
	if len(values) == 0 {
		return "(none)"
	}
	return strings.Join(values, ",")
}

// startedAnew names what is started anew for the changes, each once.
func startedAnew(changes []SettingChange) []string {
	var names []string
	for _, c := range changes {
		if c.Restarts != "" && !slices.Contains(names, c.Restarts) {
			names = append(names, c.Restarts)
		}
	}
	return names
}

// settingsEvent tells what becomes of the settings of the last install.
func settingsEvent(changes []SettingChange) wire.Event {
	text := "Settings that change:"
	for _, c := range changes {
		text += "\n  " + c.String()
	}
	if restarted := startedAnew(changes); len(restarted) > 0 {
		text += "\nStarted anew for it: " + strings.Join(restarted, ", ")
	}
	return event("settings", text, changes)
}
