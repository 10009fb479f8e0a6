//go:build !linux

package plan

import (
	"context"
	"errors"
)

// empty exists for Linux only: nothing else is installed on.
func (r *removal) empty(context.Context, string, func(name string) bool) error {
	return errors.New("cannot delete a tree on this system")
}
