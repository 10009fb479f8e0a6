package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// look is how a command looks at a machine.
type look struct {
	root    string // folder of a captured machine; "" is this one
	try     bool   // run the trials, too
	network bool   // ask others, too
}

func (l *look) register(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&l.root, "root", "", "look at a captured machine in this folder instead of this one")
	flags.BoolVar(&l.try, "trials", false, "also try what this machine allows and undo it at once, within 8 s; needs root")
	flags.BoolVar(&l.network, "network", false, "also ask what only others know: the metadata service of a cloud, search domains in which every name exists, how the servers that an install needs answer")
}

// open opens this machine, or the captured one.
func (l *look) open(g *globals) (*host.System, error) {
	if l.root == "" {
		system := host.Live()
		system.Network = l.network
		if !l.network {
			return system, nil
		}
		if c, err := g.load(os.Getenv); err == nil { // who needs the settings says what is wrong with them
			system.Gateway = c.Gateway
		}
		return system, nil
	}
	system, err := host.Load(l.root)
	if err != nil {
		return nil, reason.New(reason.Usage, "--root "+l.root, err).WithFix("name a folder that probe --capture has written")
	}
	return system, nil
}
