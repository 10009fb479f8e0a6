package main

import (
	"fmt"
	"os"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/config"
)

// trustView is who is trusted, for programs.
type trustView struct {
	Name   string    `json:"name,omitempty"`
	Serial int64     `json:"serial,omitempty"`
	Keys   []keyView `json:"keys"`
	Error  string    `json:"error,omitempty"`
}

type keyView struct {
	ID          string    `json:"id"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	Development bool      `json:"development,omitempty"`
}

// tellTrust tells who may say what is installed.
func (g *globals) tellTrust() (any, []string) {
	view := trustView{Keys: []keyView{}}
	c, err := g.load(os.Getenv)
	if err != nil { // no business of version
		c = config.Config{}
	}
	manifests, err := g.manifests(c)
	if err != nil {
		view.Error = err.Error()
		return view, []string{view.Error}
	}
	trust := manifests.Trusted()
	if trust.Empty() {
		return view, []string{"It was built without keys: who may say what is installed is given by --trust FILE."}
	}
	view.Name, view.Serial = trust.Name, trust.Serial
	lines := []string{fmt.Sprintf("Who may say what is installed (%s, trust %d):", trust.Name, trust.Serial)}
	for _, k := range trust.Keys {
		view.Keys = append(view.Keys, keyView{k.ID(), k.NotBefore, k.NotAfter, k.Development})
		line := "  key " + k.Short() + " until " + k.NotAfter.UTC().Format(time.DateOnly)
		if k.Development {
			line += ", a DEVELOPMENT key: nobody keeps it safe"
		}
		lines = append(lines, line)
	}
	return view, lines
}
