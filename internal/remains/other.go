//go:build !linux

package remains

import (
	"context"
	"errors"
)

// No node of Kubernetes runs here; what follows is for programs that only show the steps of an install.

func unmount(string) error { return errors.ErrUnsupported }

func (e Env) links() Thing    { return nothing("k3s-links") }
func (e Env) rules() Thing    { return nothing("k3s-rules") }
func (e Env) sets() Thing     { return nothing("k3s-sets") }
func (e Env) counters() Thing { return nothing("k3s-counters") }
func (e Env) modules() Thing  { return nothing("k3s-modules") }

func (e Env) engineRules() Thing { return nothing("engine-rules") }

func bridges() []string { return nil }

func nothing(kind string) Thing {
	return Thing{
		Kind: kind, Title: kind,
		List:   func(context.Context) ([]string, error) { return nil, nil },
		Remove: func(context.Context, []string) ([]string, error) { return nil, nil },
	}
}

// Rules lists nothing.
func Rules() ([]string, error) { return nil, errors.ErrUnsupported }
