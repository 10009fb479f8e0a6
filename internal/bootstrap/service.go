package bootstrap

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
)

// agentSteps write the agent's configuration and start its service, which is started anew only for what the running agent
// reads of it: a setting of k3s is none of its business.
func (o Options) agentSteps(in distro.Install, content []byte, d distro.Decision) ([]plan.Step, error) {
	config := plan.Step{
		ID:      "agent-config",
		Title:   "Configure the agent",
		Changes: []string{o.ConfigPath},
		Done: func(context.Context) (bool, error) {
			held, err := atomicfile.Read(filepath.Join(in.Root, o.ConfigPath), maxWish)
			if errors.Is(err, fs.ErrNotExist) {
				return false, nil
			}
			return bytes.Equal(held, content), err
		},
		Do: func(_ context.Context, r *plan.Recorder) error { return r.WriteFile(o.ConfigPath, 0o600, content) },
	}
	service, err := distro.AgentService(in, o.Program, d.Chosen, o.TokenLife.String())
	if err != nil {
		return nil, err
	}
	return []plan.Step{config, service}, nil
}
