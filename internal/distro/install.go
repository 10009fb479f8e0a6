package distro

import (
	"errors"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
)

// Install is what the steps of a distribution need to know.
type Install struct{}

func k3sSteps(Install) ([]plan.Step, error) { return nil, errors.New("cannot install k3s: no steps") }
