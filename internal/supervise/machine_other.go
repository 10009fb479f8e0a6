//go:build !linux

package supervise

import (
	"errors"
	"log/slog"
)

func takeOrphans(*slog.Logger) {}

func shareRoot() error { return errors.New("cannot share the root: this is no Linux") }
